package main

import (
	"fmt"
	"sort"
	"sync"
)

type job struct{ id, cost int }

type executor struct {
	wait sync.WaitGroup
	lock sync.Mutex
	done []job
}

func (exec *executor) Command(id int) {
	exec.wait.Add(1)
	go func() {
		defer exec.wait.Done()
		exec.lock.Lock()
		defer exec.lock.Unlock()
		exec.done = append(exec.done, job{id, id * id})
	}()
}

func main() {
	var all executor
	for id := 0; id < 5; id++ {
		all.Command(id)
	}
	all.wait.Wait()
	sort.Slice(all.done, func(a, b int) bool { return all.done[a].id < all.done[b].id })
	fmt.Println(all.done)
}

package main

import (
	"container/heap"
	"fmt"
)

type edge struct{ to, cost int }
type item struct{ node, cost int }
type items []item

func (q items) Len() int           { return len(q) }
func (q items) Less(a, b int) bool { return q[a].cost < q[b].cost }
func (q items) Swap(a, b int)      { q[a], q[b] = q[b], q[a] }
func (q *items) Push(x any)        { *q = append(*q, x.(item)) }
func (q *items) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func main() {
	graph := map[int][]edge{0: {{1, 4}, {2, 1}}, 2: {{1, 2}}, 1: {{3, 5}}}
	best, queue := map[int]int{}, &items{{0, 0}}
	for queue.Len() > 0 {
		at := heap.Pop(queue).(item)
		if _, known := best[at.node]; known {
			continue
		}
		best[at.node] = at.cost
		for _, next := range graph[at.node] {
			heap.Push(queue, item{next.to, at.cost + next.cost})
		}
	}
	fmt.Println(best)
}

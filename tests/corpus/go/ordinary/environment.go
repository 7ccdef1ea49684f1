package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Environment is no os/exec, and exec.Command is only named here.
type Environment struct {
	names map[string]int
}

func (e *Environment) Remove(name string) error {
	if _, there := e.names[name]; !there {
		return errors.New("net.Dial is no name: " + name)
	}
	delete(e.names, name)
	return nil
}

func main() {
	env := &Environment{names: map[string]int{"unsafe": 1, "syscall": 2}}
	if err := env.Remove("unsafe"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(strings.Repeat("x", len(env.names)), `import "net/http"`)
}

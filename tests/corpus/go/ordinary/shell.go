package main

import (
	"encoding/json"
	"fmt"
)

type planet struct{ name string }

func (net planet) Dial(number string) string { return net.name + " dials " + number }

type file struct {
	Path    string `json:"path"`
	Syscall bool   `json:"syscall"`
}

func main() {
	network := planet{"earth"}
	text, err := json.Marshal([]file{{Path: "os.RemoveAll", Syscall: false}})
	if err != nil {
		panic(err)
	}
	fmt.Println(network.Dial("42"), string(text))
}

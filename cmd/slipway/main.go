// Command slipway is the whole of Slipway: the CLI, the coordinator, the agent, and `slipway dev`, which runs them all.
//
// Only this package reads flags and the environment. Each command is a file: flags → configuration → one call.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(int(newApp().main(context.Background(), os.Args[1:])))
}

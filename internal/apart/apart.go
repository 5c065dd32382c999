// Package apart keeps the stacks of goroutines small that wait for long. A stack that has grown shrinks only once less than a quarter of it is used, so
// that one deep call, at the beginning of what then waits for days, may double what the waiting costs.
package apart

import (
	"fmt"
	"runtime/debug"
)

// Do calls f in a goroutine of its own and waits for it. A panic of f is one of Do, with the stack of f in it.
func Do(f func()) {
	var failed any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				failed = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			}
		}()
		f()
	}()
	<-done
	if failed != nil {
		panic(failed)
	}
}

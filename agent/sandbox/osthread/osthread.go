// Package osthread runs what changes an operating system thread for good, such as entering a namespace.
package osthread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Throwaway runs f on a thread that ends afterwards, and returns what f does. What f starts on other threads is not on it.
func Throwaway(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if unix.Gettid() != unix.Getpid() {
			result <- f()
			return
		}
		// The main thread can't be thrown away, and /proc/PID/ns shows its namespaces: use another, while holding this.
		result <- Throwaway(f)
		runtime.UnlockOSThread()
	}()
	return <-result
}

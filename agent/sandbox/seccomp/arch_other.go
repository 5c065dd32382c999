//go:build !amd64

package seccomp

// Nobody has compared what would be compiled for other machines with what their runtime does.
var arches []arch

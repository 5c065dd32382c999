package seccomp

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

//go:generate go run gen.go

var arches = []arch{
	{name: specs.ArchX86_64, audit: unix.AUDIT_ARCH_X86_64, numbers: numbers64},
	{name: specs.ArchX86, audit: unix.AUDIT_ARCH_I386, numbers: numbers32},
}

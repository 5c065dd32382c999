// Package seccomp compiles a container's profile (runtime-spec, linux.seccomp) into the program that the kernel runs for each
// system call: seccomp(2), BPF. The usual way, libseccomp in runc, costs more than all else that runc does, and it does it again for each
// container.
//
// A program tells the machine's architectures apart, then finds the call's number by halves. What has no rule gets the profile's
// default; a number above all of the profile's gets ENOSYS, as in runc, so that a C library that is newer than the profile tries an older
// call. Of the x32 numbers of x86_64 none is allowed: the kernels in use don't know them.
package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrUnsupported: the profile has something that this package does not know, or the machine is one. The runtime can do it.
var ErrUnsupported = errors.New("seccomp: not supported")

// arch is one architecture that programs on this machine may be of.
type arch struct {
	name    specs.Arch
	audit   uint32 // as in seccomp_data.arch
	numbers map[string]uint32
}

// verdict is what happens to one system call: the first of the rules that holds, else the default.
type verdict struct {
	action uint32
	// when are alternatives; none is always.
	when [][]specs.LinuxSeccompArg
}

// segment is a run of numbers with one verdict, up to the next segment's first.
type segment struct {
	first   uint32
	verdict verdict
}

// Compile returns the program as the kernel takes it: struct sock_filter, in the machine's byte order.
func Compile(p *specs.LinuxSeccomp) ([]byte, error) {
	if len(arches) == 0 || p == nil || len(p.Flags) > 0 || p.ListenerPath != "" {
		return nil, fmt.Errorf("%w: this machine, or the profile's flags", ErrUnsupported)
	}
	base, err := actionOf(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	program := []unix.SockFilter{load(offsetArch)}
	for _, a := range arches {
		if !slices.Contains(p.Architectures, a.name) {
			continue
		}
		verdicts, err := verdictsOf(p, a, base)
		if err != nil {
			return nil, err
		}
		block, err := search(segmentsOf(verdicts, base), base)
		if err != nil {
			return nil, err
		}
		block = append([]unix.SockFilter{load(offsetNumber)}, block...)
		program = append(append(program, unless(unix.BPF_JEQ, a.audit, len(block))...), block...)
	}
	program = append(program, ret(unix.SECCOMP_RET_KILL_THREAD))
	if len(program) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("%w: %d instructions", ErrUnsupported, len(program))
	}
	var out []byte
	for _, i := range program {
		out = binary.NativeEndian.AppendUint16(out, i.Code)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out, nil
}

func actionOf(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		n := uint(unix.EPERM)
		if errno != nil {
			n = *errno
		}
		return unix.SECCOMP_RET_ERRNO | uint32(n)&unix.SECCOMP_RET_DATA, nil
	default:
		return 0, fmt.Errorf("%w: action %s", ErrUnsupported, a)
	}
}

func verdictsOf(p *specs.LinuxSeccomp, a arch, base uint32) (map[uint32]verdict, error) {
	all := map[uint32]verdict{}
	for _, rule := range p.Syscalls {
		action, err := actionOf(rule.Action, rule.ErrnoRet)
		if err != nil {
			return nil, err
		}
		if action == base {
			continue
		}
		for _, name := range rule.Names {
			n, known := a.numbers[name]
			if !known {
				continue
			}
			v, there := all[n]
			switch {
			case there && v.action != action:
				return nil, fmt.Errorf("%w: %s has rules with different actions", ErrUnsupported, name)
			case len(rule.Args) == 0:
				v.when = nil
			case !there || v.when != nil: // else it is allowed in any case
				v.when = append(v.when, rule.Args)
			}
			v.action = action
			all[n] = v
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no rule for %s", ErrUnsupported, a.name)
	}
	return all, nil
}

func segmentsOf(verdicts map[uint32]verdict, base uint32) []segment {
	out := []segment{{0, verdict{action: base}}}
	next := uint32(0)
	add := func(first uint32, v verdict) {
		last := &out[len(out)-1]
		switch {
		case v.when == nil && last.verdict.when == nil && v.action == last.verdict.action:
		case last.first == first:
			last.verdict = v
		default:
			out = append(out, segment{first, v})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(verdicts)) {
		if n > next {
			add(next, verdict{action: base})
		}
		add(n, verdicts[n])
		next = n + 1
	}
	add(next, verdict{action: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	return out
}

package seccomp

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data. Arguments have 64 bits, in the machine's order; those that have a table here are little-endian.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// unless skips n instructions if the comparison does not hold. A conditional jump reaches 255 instructions, any other further.
func unless(op uint16, k uint32, n int) []unix.SockFilter {
	if n <= 255 {
		return []unix.SockFilter{{Code: unix.BPF_JMP | unix.BPF_K | op, K: k, Jf: uint8(n)}}
	}
	return []unix.SockFilter{
		{Code: unix.BPF_JMP | unix.BPF_K | op, K: k, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)},
	}
}

// search finds the segment of the number that is loaded. Every way through it ends with a return.
func search(segments []segment, base uint32) ([]unix.SockFilter, error) {
	if len(segments) == 1 {
		return decide(segments[0].verdict, base)
	}
	half := len(segments) / 2
	low, err := search(segments[:half], base)
	if err != nil {
		return nil, err
	}
	high, err := search(segments[half:], base)
	if err != nil {
		return nil, err
	}
	out := unless(unix.BPF_JGE, segments[half].first, len(high))
	return append(append(out, high...), low...), nil
}

// decide returns the action of the first alternative that holds, else base.
func decide(v verdict, base uint32) ([]unix.SockFilter, error) {
	if len(v.when) == 0 {
		return []unix.SockFilter{ret(v.action)}, nil
	}
	var out []unix.SockFilter
	for _, all := range v.when {
		block := []unix.SockFilter{ret(v.action)}
		for _, arg := range all {
			var err error
			if block, err = given(arg, block); err != nil {
				return nil, err
			}
		}
		out = append(out, block...)
	}
	return append(out, ret(base)), nil
}

// given puts a condition in front of a block, which is skipped where it does not hold.
func given(arg specs.LinuxSeccompArg, block []unix.SockFilter) ([]unix.SockFilter, error) {
	mask, value := ^uint64(0), arg.Value
	if arg.Op == specs.OpMaskedEqual {
		mask, value = arg.Value, arg.ValueTwo
	}
	at := offsetArgs + 8*uint32(arg.Index)
	low, high, n := uint32(value), uint32(value>>32), uint8(min(len(block), 255))
	switch {
	case arg.Index > 5 || len(block) > 100:
		return nil, fmt.Errorf("%w: argument %d, or too many of them", ErrUnsupported, arg.Index)
	case arg.Op == specs.OpEqualTo, arg.Op == specs.OpMaskedEqual:
		return slices.Concat(compare(at+4, uint32(mask>>32), unix.BPF_JEQ, high, 0, n+3), compare(at, uint32(mask), unix.BPF_JEQ, low, 0, n), block), nil
	case arg.Op == specs.OpNotEqual:
		// An upper half that differs leads to the block at once.
		return slices.Concat(compare(at+4, ^uint32(0), unix.BPF_JEQ, high, 0, 3), compare(at, ^uint32(0), unix.BPF_JEQ, low, n, 0), block), nil
	case arg.Op == specs.OpLessThan && high == 0:
		return slices.Concat(compare(at+4, ^uint32(0), unix.BPF_JEQ, 0, 0, n+3), compare(at, ^uint32(0), unix.BPF_JGE, low, n, 0), block), nil
	default:
		return nil, fmt.Errorf("%w: comparison %s", ErrUnsupported, arg.Op)
	}
}

// compare holds half an argument against k, and skips so many instructions if that is so, or is not.
func compare(offset, mask uint32, op uint16, k uint32, yes, no uint8) []unix.SockFilter {
	return []unix.SockFilter{
		load(offset),
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask},
		{Code: unix.BPF_JMP | unix.BPF_K | op, K: k, Jt: yes, Jf: no},
	}
}

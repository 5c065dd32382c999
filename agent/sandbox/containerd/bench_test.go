package containerd_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// BenchmarkCreate is a pod with a cached image and egress; its removal is not counted.
func BenchmarkCreate(b *testing.B) {
	h := newHost(b)
	h.cfg.Network.Pool = 4
	sb := h.open(b)
	defer sb.Close()
	create(b, sb, sandbox.PodSpec{ID: "warm", Image: h.image, Egress: true})
	n := 0
	for b.Loop() {
		n++
		id := fmt.Sprintf("p%d", n)
		create(b, sb, sandbox.PodSpec{ID: id, Image: h.image, Egress: true})
		b.StopTimer()
		if err := sb.Remove(within(b), id); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkRemove is what comes after it.
func BenchmarkRemove(b *testing.B) {
	h := newHost(b)
	sb := h.open(b)
	defer sb.Close()
	n := 0
	for b.Loop() {
		n++
		id := fmt.Sprintf("p%d", n)
		b.StopTimer()
		create(b, sb, sandbox.PodSpec{ID: id, Image: h.image, Egress: true})
		b.StartTimer()
		if err := sb.Remove(within(b), id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStep is `true` through the supervisor, start to exit.
func BenchmarkStep(b *testing.B) {
	h := newHost(b)
	sb := h.open(b)
	defer sb.Close()
	pod := create(b, sb, sandbox.PodSpec{ID: "p", Image: h.image})
	n := 0
	for b.Loop() {
		n++
		id := fmt.Sprintf("s%d", n)
		spec := sandbox.StepSpec{ID: id, Argv: []string{"true"}, Output: filepath.Join(h.dir, "out")}
		if err := pod.Start(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		if _, err := pod.Wait(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkForkExec is the physical limit that BenchmarkStep is to be compared with.
func BenchmarkForkExec(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/bin/busybox", "true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

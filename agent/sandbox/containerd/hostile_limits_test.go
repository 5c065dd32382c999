package containerd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// endingOf runs a hostile step, for which nobody set a limit, beside a neighbour, and returns how it ended.
func endingOf(t *testing.T, h *host, evil, neighbour sandbox.Pod, script string) sandbox.Exit {
	t.Helper()
	exit, out := sh(t, h, evil, script, func(s *sandbox.StepSpec) { s.Timeout = 40 * time.Second })
	t.Logf("%s: %s: %.300s", script, exit.Explain(), out)
	if exit, out := sh(t, h, neighbour, "echo x >/work/own && cat /work/own && ls / >/dev/null"); exit.Code != 0 || out != "x\n" {
		t.Errorf("the neighbour of %s: %+v %s", script, exit, out)
	}
	return exit
}

func TestHostileToTheHost(t *testing.T) { eachLevel(t, hostileToTheHost) }

// hostileToTheHost: what would bring a host down ends in its own pod, by a name, although the job asked for no limit.
func hostileToTheHost(t *testing.T, l level) {
	h := newHost(t)
	// A small one, so that it can be filled, and yet not in the time between two looks of the guard.
	disk := filepath.Join(h.dir, "disk")
	if err := os.Mkdir(disk, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1536m,mode=711"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	h.cfg.Volumes, h.cfg.KeepFree = []string{disk}, 1280<<20
	sb := h.open(t)
	t.Cleanup(func() { _ = sb.Close() })
	pod := func(id string) sandbox.Pod {
		work := filepath.Join(disk, id)
		if err := os.Mkdir(work, 0o777); err != nil {
			t.Fatal(err)
		}
		return l.create(t, sb, sandbox.PodSpec{ID: id, Image: h.image, Mounts: []sandbox.Mount{{Source: work, Target: "/work"}}})
	}
	evil, neighbour := pod("evil"), pod("neighbour")
	for _, c := range []struct {
		kind         sandbox.Kind
		script, says string
	}{
		{sandbox.KindWorkspaceFull, "cat /dev/zero >/work/zeros", "workspace full: the job had written"},
		{sandbox.KindWorkspaceFull, "i=0; while :; do head -c 1000000 /dev/zero >/work/f$i; i=$((i+1)); done", "workspace full"},
		{sandbox.KindProcessLimit, "bomb() { bomb | bomb & }; bomb; i=0; while [ $i -lt 300 ]; do sleep 0.01 || exit 1; i=$((i+1)); done; exit 1", "process limit reached"},
	} {
		if c.kind == sandbox.KindProcessLimit && l.name != levels[0].name {
			continue // the same in all of them, and it takes a while until 4,096 processes are there and gone
		}
		exit := endingOf(t, h, evil, neighbour, c.script)
		if exit.Kind() != c.kind || !strings.Contains(exit.Explain(), c.says) || exit.OurFault() {
			t.Errorf("%s ended as %s (%s), want %s (%s)", c.script, exit.Kind(), exit.Explain(), c.kind, c.says)
		}
		if exit, out := sh(t, h, evil, "rm -rf /work/*; echo alive"); exit.Code != 0 && c.kind != sandbox.KindProcessLimit {
			t.Errorf("the pod after %s: %+v %s", c.script, exit, out)
		}
	}
}

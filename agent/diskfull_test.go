package agent_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// A job that fills the disk fails; its host recovers by itself and serves the next one.
func TestAFullDiskFailsTheJobAndNotTheAgent(t *testing.T) {
	h := newHost(t, fake.Options{})
	if err := os.Mkdir(h.cfg.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", h.cfg.DataDir, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("a small file system can't be mounted: %v", err)
	}
	t.Cleanup(func() {
		h.down()
		if err := unix.Unmount(h.cfg.DataDir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	h.up()
	h.c.Offer(job("full", sh("echo ::add-mask::s3cret; head -c 30000000 /dev/zero > big || true; echo s3cret; seq 100000"), sh("seq 1000"), sh("echo end; false", cond("always()"))))
	if r := h.c.WaitDone("full").Last(); r.GetResult() != corev1.Result_RESULT_FAILURE {
		t.Errorf("result %s", r.GetResult())
	} else {
		t.Log(r.GetFailure())
	}
	waitUntil(t, "the disk is free again", func() bool {
		var st unix.Statfs_t
		return unix.Statfs(h.cfg.DataDir, &st) == nil && int64(st.Bavail)*st.Bsize > 8<<20 && len(h.pods()) == 0
	})
	if a := run(t, h, "next", sh("echo hello")); a.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Errorf("%v", a.Last().GetFailure())
	}
}

package containerd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/internal/testimage"
)

// TestVolumes: they begin with what the image has, are shared by name, and go with their pod.
func TestVolumes(t *testing.T) {
	eachLevel(t, func(t *testing.T, l level) {
		h := newHost(t)
		image := h.registry.Push(t, "seeded", testimage.Image{Files: map[string]string{"srv/data/of-image": "x"}})
		sb := h.open(t)
		defer sb.Close()
		outside := filepath.Join(h.dir, "outside")
		if err := os.Mkdir(outside, 0o755); err != nil {
			t.Fatal(err)
		}
		mount := func(name, target string) sandbox.Mount { return sandbox.Mount{Volume: name, Target: target} }
		spec := sandbox.PodSpec{
			ID: "p", Image: image, StepImages: []string{h.image},
			Mounts: []sandbox.Mount{mount("data", "/srv/data"), mount("_0", "/new"), {Source: outside, Target: "/outside", ReadOnly: true}},
			Services: []sandbox.Service{{
				Name: "db", Image: h.image, Command: []string{"sh", "-c", "cat /db/of-image >/db/seen; echo mine >/own/f; exec sleep 3600"},
				Mounts: []sandbox.Mount{mount("data", "/db"), mount("_1", "/own")},
				Health: &sandbox.Health{Command: []string{"test -f /own/f"}, Retries: 50, Interval: 100 * ms},
			}},
		}
		pod := create(t, sb, l.shape(spec))
		if _, out := sh(t, h, pod, "cat /srv/data/of-image /srv/data/seen; ls /new /own 2>/dev/null; echo n >/new/n; touch /outside/x 2>/dev/null || echo read-only"); out != "xx/new:\nread-only\n" {
			t.Errorf("the job sees %q", out)
		}
		in := func(s *sandbox.StepSpec) { s.Image = h.image }
		if _, out := sh(t, h, pod, "cat /srv/data/of-image; cat /new/n; rm /srv/data/of-image", in); out != "xn\n" {
			t.Errorf("a step with an image of its own sees %q", out)
		}
		if _, out := sh(t, h, pod, "ls /srv/data"); out != "seen\n" {
			t.Errorf("the job sees %q after it", out)
		}
		if err := sb.Remove(within(t), "p"); err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(filepath.Join(h.cfg.Dir, "pods", "*")); err != nil || len(left) > 0 && !strings.Contains(left[0], "warm-") {
			t.Errorf("left behind: %v, %v", left, err)
		}
		bad := sandbox.PodSpec{ID: "q", Image: image, Mounts: []sandbox.Mount{mount("../up", "/x")}}
		if _, err := sb.Create(within(t), l.shape(bad), nil); err == nil || !strings.Contains(err.Error(), "name of a volume") {
			t.Errorf("a volume that leads out of the pod's directory: %v", err)
		}
	})
}

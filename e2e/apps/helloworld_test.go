// Package apps runs real applications through a whole Slipway, as their developers would.
package apps

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/slipway-ci/slipway/e2e/cluster"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// TestHelloWorldAPI is the main job on real input: from a commit of a real service, over its dependencies and a real PostgreSQL,
// to its test report.
func TestHelloWorldAPI(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: containers need root")
	}
	c, err := cluster.Start(t.Context(), cluster.Options{})
	if errors.Is(err, cluster.ErrNotBuilt) {
		t.Skip("SKIPPED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := commitExample(t, "hello-world-api")

	res, err := c.Slipway(t.Context(), dir, "run", ".github/workflows/ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", res.Code, res.Stdout, res.Stderr)
	}

	run := showRun(t, c)
	if run.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED || run.GetSource().GetDirty() {
		t.Errorf("state %s, dirty %v", run.GetState(), run.GetSource().GetDirty())
	}
	jobs := map[string]*apiv1.Job{}
	for _, j := range run.GetJobs() {
		jobs[j.GetName()] = j
	}
	for _, name := range []string{"Lint and unit tests", "Integration tests (20)", "Integration tests (24)", "Report"} {
		if j := jobs[name]; j == nil || j.GetState() != corev1.JobState_JOB_STATE_SUCCEEDED {
			t.Errorf("job %q: %v", name, j)
		}
	}
	if got := jobs["Lint and unit tests"].GetOutputs()["version"]; got != "1.0.0" {
		t.Errorf("output version is %q", got)
	}
	tests := map[string]uint32{}
	for _, a := range run.GetArtifacts() {
		tests[a.GetName()] = a.GetTests().GetTests()
		if bad := a.GetTests().GetFailures() + a.GetTests().GetErrors(); bad != 0 {
			t.Errorf("artifact %s reports %d failed tests", a.GetName(), bad)
		}
	}
	if tests["results-unit"] < 30 || tests["results-integration-node20"] < 10 || tests["results-integration-node20"] != tests["results-integration-node24"] {
		t.Errorf("tests by artifact: %v", tests)
	}
	if !strings.Contains(res.Stdout, "Integration tests on Node.js 24") {
		t.Error("the progress does not name the matrix leg's step")
	}
}

// commitExample makes a repository of its own out of an example, with one commit.
func commitExample(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	src := filepath.Join("..", "..", "examples", name)
	files, err := exec.CommandContext(t.Context(), "git", "-C", src, "ls-files", "-z").Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.SplitSeq(strings.TrimRight(string(files), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(src, file))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "example"}} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// showRun is the newest run as `slipway runs show -o json` prints it.
func showRun(t *testing.T, c *cluster.Cluster) *apiv1.Run {
	t.Helper()
	res, err := c.Slipway(t.Context(), c.Dir, "runs", "show", "#1", "-o", "json")
	if err != nil || res.Code != 0 {
		t.Fatalf("runs show: %v, exit code %d: %s", err, res.Code, res.Stderr)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(res.Stdout)); err != nil {
		t.Fatal(err)
	}
	run := &apiv1.Run{}
	if err := protojson.Unmarshal(compact.Bytes(), run); err != nil {
		t.Fatal(err)
	}
	return run
}

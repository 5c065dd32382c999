package agent_test

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	"github.com/slipway-ci/slipway/internal/archive"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// packed returns a packed tree of files.
func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	var buf bytes.Buffer
	if err := archive.Pack(&buf, dir, names); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestCheckoutUploadDownload(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	source := h.c.AddBlob(packed(t, map[string]string{"package.json": "{}", "src/a.js": "1", "old/x": "y"}))
	a := job("a1",
		sh("echo stale > stale.txt"),
		uses("checkout", entry("fetch-depth", lit("0"))),
		sh("ls; mkdir -p out/r; echo data > out/data.txt; echo '<testsuite><testcase name=\"a\"/><testcase name=\"b\"><failure message=\"no\"/></testcase></testsuite>' > out/r/junit.xml; echo '<a/>' > out/other.xml; ln -s /etc/passwd out/leak; echo x > out/.hidden"),
		uses("upload-artifact", entry("name", exp("format('results-{0}', matrix.node)")), entry("path", lit("out\n!out/*.tmp"))),
		uses("upload-artifact", entry("name", lit("one")), entry("path", lit("out/data.txt"))),
		uses("upload-artifact", entry("name", lit("none")), entry("path", lit("nothing/*"))),
		uses("upload-artifact", entry("name", lit("two")), entry("path", lit("out/data.txt\nsrc/a.js"))),
		sh("rm -rf out"),
		uses("download-artifact", entry("name", lit("results-20")), entry("path", lit("back"))),
		uses("download-artifact", entry("pattern", lit("?[nw]?")), entry("path", lit("all"))),
		&planv1.Step{Condition: "success() && hashFiles('**/*.js') != '' && hashFiles('*.zip') == ''", Kind: &planv1.Step_Run{Run: &planv1.Run{Script: lit("find back all -type f | sort")}}},
	)
	a.Source = source
	h.c.Offer(a)
	got := h.c.WaitDone("a1")
	if got.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Fatalf("%v, steps %s", got.Last().GetFailure(), conclusions(got))
	}
	if logOf(got, 3) != "old\npackage.json\nsrc\n" {
		t.Errorf("after checkout: %q", logOf(got, 3))
	}
	if want := "all/one/data.txt\nall/two/out/data.txt\nall/two/src/a.js\nback/data.txt\nback/other.xml\nback/r/junit.xml\n"; logOf(got, 11) != want {
		t.Errorf("downloaded %q, want %q", logOf(got, 11), want)
	}
	arts := h.c.Artifacts()
	if len(arts) != 3 {
		t.Fatalf("artifacts %v", arts)
	}
	sum := arts[0].GetTests()
	if arts[0].GetName() != "results-20" || arts[0].GetFiles() != 3 || sum.GetTests() != 2 || sum.GetFailures() != 1 || sum.GetFailed()[0].GetName() != "b" || arts[0].GetJobId() != "build" {
		t.Errorf("artifact %v", arts[0])
	}
	if arts[1].GetTests() != nil {
		t.Errorf("tests of an artifact without any: %v", arts[1])
	}
	zr, err := zip.NewReader(bytes.NewReader(h.c.Blob(arts[1].GetDigest())), arts[1].GetSize())
	if err != nil || len(zr.File) != 1 || zr.File[0].Name != "data.txt" {
		t.Errorf("zip of one file: %v", err)
	}
	var warned bool
	for _, an := range got.Last().GetAnnotations() {
		warned = warned || an.GetLevel() == "warning" && an.GetStep() == 6 && strings.Contains(an.GetMessage(), "No files were found")
	}
	if !warned {
		t.Errorf("annotations %v", got.Last().GetAnnotations())
	}
}

func TestNativeStepsFailClearly(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	cases := map[string]struct {
		step *planv1.Step
		want string
	}{
		"checkout-without-source": {uses("checkout"), "no source tree"},
		"upload-outside":          {uses("upload-artifact", entry("path", lit("/etc/passwd"))), "files must lie beneath"},
		"upload-bad-name":         {uses("upload-artifact", entry("name", lit("a/b")), entry("path", lit("."))), "may not"},
		"upload-nothing":          {uses("upload-artifact", entry("path", lit("x")), entry("if-no-files-found", lit("error"))), "No files were found"},
		"upload-no-path":          {uses("upload-artifact"), "path is missing"},
		"download-unknown":        {uses("download-artifact", entry("name", lit("gone"))), "Artifact not found for name: gone"},
		"download-other-run":      {uses("download-artifact", entry("run-id", lit("7"))), "not supported yet"},
		"node-missing":            {uses("setup-node", entry("node-version", lit("20"))), "no node 20"},
		"unknown":                 {uses("frobnicate"), "older than the coordinator"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h.c.Offer(job(name, c.step))
			a := h.c.WaitDone(name)
			s := step(t, a, 1)
			if s.GetConclusion() != corev1.Result_RESULT_FAILURE || s.GetFailure().GetFault() != corev1.Fault_FAULT_USER || !strings.Contains(s.GetFailure().GetMessage(), c.want) {
				t.Errorf("%v, want %q", s, c.want)
			}
			if !strings.Contains(logOf(a, 1), c.want) {
				t.Errorf("the log does not say it: %q", logOf(a, 1))
			}
		})
	}
}

func TestArtifactsDoNotChange(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	up := func(more ...*planv1.Entry) *planv1.Step {
		return uses("upload-artifact", append([]*planv1.Entry{entry("name", lit("a")), entry("path", lit("f"))}, more...)...)
	}
	a := run(t, h, "a1", sh("echo 1 > f"), up(), sh("echo 2 > f"), func() *planv1.Step { s := up(); s.ContinueOnError = lit("true"); return s }(), up(entry("overwrite", lit("true"))))
	if s := step(t, a, 4); s.GetOutcome() != corev1.Result_RESULT_FAILURE || !strings.Contains(s.GetFailure().GetMessage(), "exists in this run already") {
		t.Errorf("step 4: %v", s)
	}
	if a.Last().GetResult() != corev1.Result_RESULT_SUCCESS || len(h.c.Artifacts()) != 1 {
		t.Errorf("result %v, artifacts %v", a.Last().GetFailure(), h.c.Artifacts())
	}
}

func TestSetupNodePicksTheNewestThatMatches(t *testing.T) {
	// The image's tool cache is played: the fake has no /opt/hostedtoolcache.
	h := newHost(t, fake.Options{Run: func(ctx context.Context, s fake.Step) int {
		if strings.HasPrefix(s.ID, "probe-") && slices.Contains(s.Argv, "/opt/hostedtoolcache/node") {
			for _, v := range []string{"18.20.8", "20.9.0", "20.20.2", "24.21.0"} {
				_, _ = io.WriteString(s.Out, "/opt/hostedtoolcache/node/"+v+"/x64\n")
			}
			return 0
		}
		return hostShell(ctx, s)
	}})
	h.up()
	for spec, want := range map[string]string{"20": "20.20.2", "20.x": "20.20.2", "20.9.0": "20.9.0", "v18": "18.20.8", "lts/*": "24.21.0", "lts/iron": "20.20.2", "lts/-1": "20.20.2", ">=18 <24": "20.20.2", "^20.1": "20.20.2", "latest": "24.21.0", "~20.9": "20.9.0"} {
		id := "n" + strings.NewReplacer("/", "-", "*", "s", ">", "g", "<", "l", "=", "", " ", "", "^", "c", "~", "t").Replace(spec)
		a := run(t, h, id, uses("setup-node", entry("node-version", lit(spec)), entry("cache", lit("npm"))), sh(`printf %s "$PATH" | cut -d: -f1`))
		if got := logOf(a, 2); got != "/opt/hostedtoolcache/node/"+want+"/x64/bin\n" {
			t.Errorf("%s: PATH begins with %q (%v)", spec, got, a.Last().GetFailure())
		}
		if len(a.Last().GetAnnotations()) != 1 {
			t.Errorf("%s: no notice about cache: %v", spec, a.Last().GetAnnotations())
		}
	}
	a := run(t, h, "none", uses("setup-node", entry("node-version", lit("22"))))
	if m := step(t, a, 1).GetFailure().GetMessage(); !strings.Contains(m, "it has 24.21.0, 20.20.2, 20.9.0, 18.20.8") {
		t.Errorf("message %q", m)
	}
	a = run(t, h, "bad", uses("setup-node", entry("node-version", lit("twenty"))))
	if m := step(t, a, 1).GetFailure().GetMessage(); !strings.Contains(m, "neither a version nor a range") {
		t.Errorf("message %q", m)
	}
}

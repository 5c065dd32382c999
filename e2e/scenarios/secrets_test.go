package scenarios

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
)

// planted is a secret that is looked for in every byte that Slipway wrote.
type planted struct {
	value   string
	needles [][]byte
}

func plant(value string) planted {
	p := planted{value: value}
	for line := range strings.SplitSeq(strings.TrimSpace(value), "\n") {
		p.needles = append(p.needles, []byte(line))
		for shift := range 3 {
			text := base64.StdEncoding.EncodeToString(append(make([]byte, shift), line...))
			// Its ends depend on what is beside it.
			p.needles = append(p.needles, []byte(strings.TrimRight(text, "=")[4:len(text)-4]))
		}
	}
	return p
}

// in names the first needle that some bytes hold; "" for none.
func (p planted) in(data []byte) string {
	for _, n := range p.needles {
		if bytes.Contains(data, n) {
			return string(n)
		}
	}
	return ""
}

// setSecret keeps one of the test's own project, by standard input.
func (p *project) setSecret(name, project, value string) {
	p.t.Helper()
	cmd := sys.Command(p.t.Context(), p.dir, "secrets", "set", name, "--project", project)
	cmd.Stdin = strings.NewReader(value)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), value) {
		p.t.Fatalf("slipway secrets set: %v: %s", err, out)
	}
}

// search looks for planted secrets in the files of a directory. skip are directories that it leaves out, by name or path.
func search(t *testing.T, when, dir string, all []planted, skip ...string) {
	t.Helper()
	files, size := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what goes while it is looked at
		}
		for _, s := range skip {
			if d.IsDir() && (path == s || d.Name() == s) {
				return fs.SkipDir
			}
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		files, size = files+1, size+len(data)
		for _, p := range all {
			if found := p.in(data); found != "" {
				t.Errorf("%s: %s holds %q of a secret", when, path, found)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%s: %s: %d files, %v", when, dir, files, err)
	}
	t.Logf("%s: searched %d files, %d bytes below %s", when, files, size, dir)
}

// argv looks for planted secrets in the arguments of all processes of the host.
func argv(t *testing.T, all []planted) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		t.Fatal(err)
	}
	for _, path := range lines {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for _, p := range all {
			if p.in(data) != "" {
				t.Errorf("the arguments of %s hold a secret", filepath.Dir(path))
			}
		}
	}
}

// TestNoSecretIsWrittenAnywhere: planted ones, used in every place where they can be, are found in no byte that Slipway wrote, not in arguments, nor
// in what containerd was told: while the job runs, after its agent was killed in mid-step, and when it is over. It kills the agent, so it runs alone.
func TestNoSecretIsWrittenAnywhere(t *testing.T) {
	word := func() string { return rand.Text() }
	token, pem, db := plant("planted-"+word()), plant("-----BEGIN "+word()+"-----\n"+word()+word()+"\n-----END-----\n"), plant("planted-"+word())
	all := []planted{token, pem, db}
	mark, scope := word(), "secret-"+strings.ToLower(word())
	p := newProject(t, map[string]string{
		".github/workflows/ci.yml": `on: push
env: {AT_TOP: "${{ secrets.TOKEN }}"}
jobs:
  a:
    runs-on: busybox
    env: {OF_JOB: "${{ secrets.PEM }}"}
    outputs: {leak: "${{ steps.one.outputs.leak }}"}
    container: {image: "busybox:latest", env: {OF_CONTAINER: "${{ secrets.TOKEN }}"}}
    services:
      db:
        image: postgres:15-alpine
        env: {POSTGRES_PASSWORD: "${{ secrets.DB }}"}
        options: --health-cmd pg_isready --health-interval 100ms --health-retries 200
    steps:
      - id: one
        name: with ${{ secrets.TOKEN }}
        run: |
          echo "${{ secrets.TOKEN }} $AT_TOP $OF_CONTAINER"
          printf %s "$AT_TOP" | base64; printf 'x%s' "$AT_TOP" | base64; printf 'xx%s' "$AT_TOP" | base64
          echo "leak=$AT_TOP" >> "$GITHUB_OUTPUT"
          echo "later=$AT_TOP" >> "$GITHUB_ENV"
          echo "::warning::this is $AT_TOP"
          touch begun-` + mark + `
          while [ ! -e go-` + mark + ` ]; do sleep 0.05; done
          echo "$OF_JOB"; echo "still $AT_TOP"
      - {env: {E: "${{ secrets.DB }}"}, run: 'echo "$E $later"; rm -f begun-* go-*; echo public > artifact'}
      - {uses: actions/upload-artifact@v4, with: {name: out, path: artifact}}
      - {run: 'echo failing ${{ secrets.TOKEN }}; exit 3', continue-on-error: true}
  call: {needs: a, uses: ./.github/workflows/called.yml, secrets: {GIVEN: "${{ secrets.TOKEN }}"}}
`,
		".github/workflows/called.yml": `on: {workflow_call: {secrets: {GIVEN: {required: true}}}}
jobs:
  b: {runs-on: busybox, steps: [{run: 'echo "got ${{ secrets.GIVEN }}"'}]}
`,
	})
	for name, s := range map[string]planted{"TOKEN": token, "PEM": pem, "DB": db} {
		p.setSecret(name, scope, s.value)
	}
	agent, err := agentconf.Load(sys.Dir + "/data/slipway/dev/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l := p.start("run", ".github/workflows/ci.yml", "--project", scope)
	id := l.runID()
	var workspace string
	eventually(t, "the step has begun", func() bool {
		found, _ := filepath.Glob(agent.DataDir + "/attempts/*/workspace/begun-" + mark)
		if len(found) == 1 {
			workspace = filepath.Dir(found[0])
		}
		return workspace != ""
	})
	// Images are not ours, and pinned namespaces no files. While the job runs, what it prints lies in its raw output, for root only, until it is stored.
	images := []string{"io.containerd.content.v1.content", "io.containerd.snapshotter.v1.overlayfs", "rootfs", "ns", "attempts"}
	look := func(when string) {
		t.Helper()
		search(t, when, sys.Dir+"/data/slipway/coordinator", all)
		search(t, when, sys.Dir, all, append(images, sys.Dir+"/data/slipway/coordinator")...)
		argv(t, all)
	}
	look("while it runs")
	p.kill("agent")
	healthy(t)
	look("after a kill of the agent")
	if err := os.WriteFile(workspace+"/go-"+mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	res := l.wait()
	if res.Code != succeeded {
		t.Fatalf("exit code %d:\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if text := res.Stdout + res.Stderr + fmt.Sprint(p.show(id)); token.in([]byte(text)) != "" || db.in([]byte(text)) != "" || pem.in([]byte(text)) != "" {
		t.Errorf("a secret was shown:\n%s", text)
	}
	want := "*** *** ***\n***\neH***\neHh***\n***\nstill ***\n*** ***\nfailing ***\n"
	if got := masked(p.logOf(id, "a")); got != want {
		t.Errorf("the log is\n%s, want\n%s", got, want)
	}
	if got := p.logOf(id, "call.b"); got != "got ***\n" {
		t.Errorf("the called workflow printed %q", got)
	}
	eventually(t, "nothing of a job is left", func() bool {
		left, err := filepath.Glob(agent.DataDir + "/attempts/*")
		return err == nil && len(left) == 0
	})
	images = images[:4] // by now nothing of a job is left
	look("when it is over")
}

// masked leaves out what the agent says of native steps and annotations, and joins what was hidden of one text.
func masked(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if strings.Contains(line, "***") {
			b.WriteString(line)
		}
	}
	return strings.ReplaceAll(b.String(), "::warning::this is ***\n", "")
}

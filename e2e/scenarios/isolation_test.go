package scenarios

import (
	"context"
	"regexp"
	"testing"

	"github.com/slipway-ci/slipway/e2e/cluster"
)

// strangers is what a fork's job does: checkout, outputs, an artifact, and a look at who it is.
const strangers = `
on: push
jobs:
  a:
    runs-on: busybox
    outputs: {who: "${{ steps.who.outputs.uid }}"}
    steps:
      - uses: actions/checkout@v4
      - {id: who, shell: sh, run: 'cat greeting.txt; echo "map $(cat /proc/self/uid_map)"; echo "uid=$(id -u)" >>$GITHUB_OUTPUT; echo made >made.txt; chmod 600 made.txt'}
      - {uses: actions/upload-artifact@v4, with: {name: made, path: made.txt}}
  b:
    needs: a
    runs-on: busybox
    steps:
      - {shell: sh, run: 'echo "it was ${{ needs.a.outputs.who }}"'}
`

// TestAnUntrustedPool: its jobs do what jobs do, in user namespaces.
func TestAnUntrustedPool(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{Slots: 2, Policies: map[string]string{"default": "{isolation: untrusted, runtime: runc}"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	p := newProject(t, map[string]string{"ci.yml": strangers, "greeting.txt": "hello\n"})
	res, err := c.Slipway(ctx, p.dir, "run", "ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	out := res.Stdout + res.Stderr
	if res.Code != succeeded {
		t.Fatalf("exit code %d: %s", res.Code, out)
	}
	for _, want := range []string{`hello`, `map +0 +[1-9][0-9]+ +65536`, `it was 0`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("nothing says %q:\n%s", want, out)
		}
	}
}

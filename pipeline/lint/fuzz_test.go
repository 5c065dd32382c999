package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/pipeline/syntax"
)

func FuzzLint(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yml")
	if err != nil || len(files) < 20 {
		f.Fatal(len(files), err)
	}
	for _, path := range files {
		src, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		// Also what the reader refused is linted here: what is left of it must not panic.
		file, _ := syntax.Parse("x.yml", src, syntax.Limits{})
		for _, d := range Allow(file, src, Lint(file, nil, nil)) {
			if d.Line < 1 || d.Column < 1 || d.Message == "" || Codes[d.Code] == "" {
				t.Fatalf("%+v", d)
			}
		}
	})
}

// TestLargeFilesAreFast: what is repeated as often as a file of a megabyte allows is linted in time.
func TestLargeFilesAreFast(t *testing.T) {
	const head = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
	script := func(line string) string {
		return head + "      - env: {A: '${{ secrets.B }}'}\n        run: |\n" + strings.Repeat("          "+line+"\n", (1<<20-200)/(len(line)+11))
	}
	repeat := func(format string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < 1<<20-len(format)-30; i++ {
			b.WriteString(strings.ReplaceAll(format, "N", fmt.Sprint(i)))
		}
		return b.String()
	}
	jobs := func(format string, n int) string {
		var b strings.Builder
		b.WriteString("on: push\njobs:\n")
		for i := range n {
			needs := ""
			if i > 0 {
				needs = fmt.Sprintf("needs: [j%d, j%d, j%d]", i-1, i/2, i/3)
			}
			b.WriteString(strings.NewReplacer("NEEDS", needs, "N", fmt.Sprint(i)).Replace(format))
		}
		return b.String()
	}
	for name, src := range map[string]string{
		"echo":      script("echo $A"),
		"variables": script(strings.Repeat("$A", 100)),
		"pipes":     script("echo $A | tr a b | tee x | cat"),
		"clouds":    script("aws s3 ls"),
		"git":       script("git push origin $A"),
		"images":    script("docker build -t x:$A . && trivy image y:${{ github.sha }}"),
		"trivy":     repeat("      - {uses: aquasecurity/trivy-action@x, with: {output: oN, image-ref: 'x:${{ github.sha }}N'}}\n"),
		"outputs":   repeat("      - {id: sN, run: 'echo ${{ steps.sN.outputs.x }}'}\n"),
		"allow":     repeat("      - {uses: a/b@vN} # slipway: allow unpinned-action: N\n"),
		"unused":    repeat("      # slipway: allow gate-ignored: N\n      - {run: a}\n"),
		"scans":     jobs("  jN:\n    NEEDS\n    runs-on: x\n    steps: [run: 'docker build -t N:x . && trivy image x:$GITHUB_SHA']\n", 3000),
		"alias":     head + "      - &a\n        run: |\n" + strings.Repeat("          echo $A ${{ github.head_ref }}\n", 10_000) + strings.Repeat("      - *a\n", 5_000),
	} {
		begin := cpu(t)
		f, found := syntax.Parse("x.yml", []byte(src), syntax.Limits{})
		if found.HasErrors() {
			t.Errorf("%s: the case is not well formed: %s", name, found[:1])
			continue
		}
		parsed := cpu(t) - begin
		list := Allow(f, []byte(src), Lint(f, nil, nil))
		took := cpu(t) - begin - parsed
		t.Logf("%s: %v after %v of reading, %d findings for %d bytes", name, took, parsed, len(list), len(src))
		if took > 10*time.Second {
			t.Errorf("%s took %v", name, took)
		}
		if len(list) > maxFindings+maxComplaints {
			t.Errorf("%s: %d findings", name, len(list))
		}
	}
}

// cpu is the processor time that this process has had: other work on the machine does not count.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package scenarios

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// plantedValue is a secret that the script of the scenario makes by itself, so that no file holds it: its seed is not a part of it.
func plantedValue(seed string) string {
	sum := sha256.Sum256([]byte("planted " + seed))
	return `k"` + base64.StdEncoding.EncodeToString(sum[:]) + `'&<%`
}

func plantedPEM(seed string) string {
	var b strings.Builder
	b.WriteString("-----BEGIN PLANTED KEY-----\n")
	for i := range 8 {
		sum := sha256.Sum256(fmt.Appendf(nil, "planted %s %d", seed, i))
		b.WriteString(base64.StdEncoding.EncodeToString(sum[:]) + "\n")
	}
	return b.String() + "-----END PLANTED KEY-----\n"
}

// slowRounds is how often the step prints every form of its secrets, a byte at a time; it takes some seconds.
const slowRounds = 60

// planting prints secrets in every form: ones of its own, which it declares in mid-stream, and one of the project's.
var planting = strings.ReplaceAll(`
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    outputs: {plain: "${{ steps.declare.outputs.v }}", encoded: "${{ steps.declare.outputs.b }}", other: kept}
    steps:
      - id: declare
        name: Declare
        shell: node {0}
        run: |
          const fs = require("fs"), hash = t => require("crypto").createHash("sha256").update("planted " + t).digest("base64")
          const value = n => 'k"' + hash(n) + "'&<%", pem = n => "-----BEGIN PLANTED KEY-----\n" + [...Array(8).keys()].map(i => hash(n + " " + i) + "\n").join("") + "-----END PLANTED KEY-----\n"
          const all = {own: value("own"), late: value("late"), pem: pem("pem")}
          fs.writeFileSync(".values", JSON.stringify(all))
          for (const v of [all.own, all.pem]) console.log("::add-mask::" + v.replaceAll("%", "%25").replaceAll("\n", "%0A"))
          fs.appendFileSync(process.env.GITHUB_OUTPUT, "v=" + all.own + "\nb=" + Buffer.from("x" + all.own).toString("base64") + "\n")
          fs.appendFileSync(process.env.GITHUB_STEP_SUMMARY, "Summary " + all.own + "\n" + all.pem)
          console.log("::warning title=" + all.own + ",file=f::" + all.own)
      - name: "Slow ${{ steps.declare.outputs.v }}"
        shell: node {0}
        env: {STORED: "${{ secrets.PLANTED }}", PASSED: "${{ steps.declare.outputs.v }}"}
        run: |
          const fs = require("fs"), all = JSON.parse(fs.readFileSync(".values"))
          const slowly = text => { for (const b of Buffer.from(text + "\n")) fs.writeSync(1, Buffer.from([b])) }
          const forms = (name, v) => {
            slowly(name + " plain " + v)
            for (const before of ["", "a", "ab"]) slowly(name + " base64 " + Buffer.from(before + v + "\n").toString("base64"))
            slowly(name + " base64url " + Buffer.from("abc" + v).toString("base64url"))
            slowly(name + " json " + JSON.stringify(v))
            slowly(name + " uri " + encodeURIComponent(v))
            slowly(name + " shell '" + v.replaceAll("'", "'\\''") + "'")
          }
          for (let i = 1; i <= ROUNDS; i++) {
            slowly("round " + i)
            if (i == ROUNDS / 2) slowly("::add-mask::" + all.late.replaceAll("%", "%25"))
            forms("stored", process.env.STORED); forms("own", process.env.PASSED); forms("pem", all.pem)
            if (i >= ROUNDS / 2) forms("late", all.late)
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
          }
          fs.appendFileSync(process.env.GITHUB_OUTPUT, "x<<" + all.late + "\n")
`, "ROUNDS", fmt.Sprint(slowRounds))

// piece is how long a part of a secret is that is looked for: long enough not to be there by chance.
const piece = 14

// pieces of secrets, with what they are of. Every run of 20 characters of a secret, in any form, holds one.
type pieces map[string]string

func (p pieces) add(secret string) {
	for line := range strings.Lines(secret) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "-----") {
			continue // no secret: the scenario's own script has it
		}
		for _, text := range written(line) {
			for i := 0; i+piece <= len(text); i += 20 - piece {
				p[text[i:i+piece]] = secret
			}
		}
	}
}

// written is a line in the forms in which the step prints it; of base64 what the line alone decides.
func written(line string) []string {
	quoted, _ := json.Marshal(line)
	all := []string{line, strings.Trim(string(quoted), `"`), url.QueryEscape(line), strings.ReplaceAll(line, "'", `'\''`)}
	for before := range 3 {
		inner := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + line))
		inner = inner[4 : len(inner)/4*4-4]
		all = append(all, inner, strings.NewReplacer("+", "-", "/", "_").Replace(inner))
	}
	return all
}

// in returns the first piece that a text shows, and where.
func (p pieces) in(text []byte) (found string, at int) {
	for i := 0; i+piece <= len(text); i++ {
		if _, ok := p[string(text[i:i+piece])]; ok {
			return string(text[i : i+piece]), i
		}
	}
	return "", -1
}

// TestPlantedSecrets: a secret of the project and values that a step declares, at its beginning and in mid-stream, printed in every form and one
// byte at a time while the agent is killed twice, are nowhere outside the step: in no log, no answer of the coordinator, no file of any process.
func TestPlantedSecrets(t *testing.T) {
	p := workflow(t, planting)
	stored := plantedValue("stored")
	p.write("value", stored)
	p.must("secrets", "set", "PLANTED", "--file", "value")
	defer p.slipway("secrets", "rm", "PLANTED")
	p.remove("value")
	l := p.start("run", "ci.yml")
	l.await(fmt.Sprintf("a | round %d", slowRounds/10))
	p.kill("agent")
	l.await(fmt.Sprintf("a | round %d", slowRounds*6/10))
	p.kill("agent")
	id, res := l.runID(), l.wait()
	healthy(t)
	if res.Code != failed {
		t.Errorf("exit code %d, want %d: its last command can't be read", res.Code, failed)
	}
	log := p.logOf(id, "a")
	for _, want := range plantedLines() {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if n := strings.Count(log, "\nround "); n != slowRounds || strings.Count(log, "late plain ***\n") != slowRounds/2+1 {
		t.Errorf("%d rounds, and the late value %d times", n, strings.Count(log, "late plain ***\n"))
	}
	run := p.show(id)
	if outputs := run.GetJobs()[0].GetOutputs(); len(outputs) != 1 || outputs["other"] != "kept" {
		t.Errorf("outputs %q", outputs)
	}
	places := map[string][]byte{"the log": []byte(p.allLogs(id)), "what slipway run printed": []byte(res.Stdout + res.Stderr)}
	for _, args := range [][]string{{"runs", "show", id}, {"runs", "show", id, "-o", "json"}, {"runs", "ls", "-o", "json"}, {"why", id}, {"secrets", "ls", "-o", "json"}} {
		places[strings.Join(args, " ")] = []byte(p.must(args...))
	}
	eventually(t, "nothing of the attempt is left on the agent's disk", func() bool {
		left, err := filepath.Glob(sys.Dir + "/*/slipway/*/attempts/*")
		return err == nil && len(left) == 0
	})
	filesOf(t, sys.Dir, places)
	t.Logf("%d places, %d bytes", len(places), size(places))
	secrets := pieces{}
	for _, secret := range []string{stored, plantedValue("own"), plantedValue("late"), plantedPEM("pem")} {
		secrets.add(secret)
	}
	for place, text := range places {
		if found, i := secrets.in(text); i >= 0 {
			t.Errorf("%s shows %q of %q: %q", place, found, secrets[found], text[max(0, i-60):min(len(text), i+60)])
		}
	}
}

// TestPiecesAreFound: what TestPlantedSecrets looks for would be seen.
func TestPiecesAreFound(t *testing.T) {
	t.Parallel()
	secrets := pieces{}
	for _, secret := range []string{plantedValue("one"), plantedPEM("two")} {
		secrets.add(secret)
		for line := range strings.Lines(secret) {
			if strings.HasPrefix(line, "-----") {
				continue
			}
			line = strings.TrimSuffix(line, "\n")
			for _, text := range append(written(line), base64.StdEncoding.EncodeToString([]byte("user:"+line+"\n")), base64.URLEncoding.EncodeToString([]byte("abcd"+line))) {
				if _, i := secrets.in([]byte("before " + text + " after")); i < 0 {
					t.Errorf("%q is not seen", text)
				}
			}
		}
	}
	if found, i := secrets.in([]byte("-----BEGIN PLANTED KEY-----" + plantedValue("three"))); i >= 0 {
		t.Errorf("%q is seen in what is none", found)
	}
}

// plantedLines must be in the log, or the step did not do what it is there for.
func plantedLines() (lines []string) {
	for _, name := range []string{"stored", "own", "late"} {
		lines = append(lines, name+" plain ***\n", name+" base64 ***", name+" base64 YW***", name+" base64url YWJj***\n", name+` json "***"`, name+" uri ***\n", name+" shell '***'\n")
	}
	return append(lines, "pem plain ***", "pem base64 ***", "pem json \"***\"\n", "::warning title=***,file=f::***\n")
}

func size(places map[string][]byte) (n int) {
	for _, text := range places {
		n += len(text)
	}
	return n
}

// filesOf reads every file below a directory, but for the images that containerd keeps and the files of the scenarios' own steps.
func filesOf(t *testing.T, dir string, into map[string][]byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && os.IsNotExist(err):
			return nil // it was removed meanwhile
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), "io.containerd."):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil || !os.IsNotExist(err) {
			into[path] = bytes.TrimRight(text, "\x00") // etcd makes its files larger than they are
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *project) remove(name string) {
	p.t.Helper()
	if err := os.Remove(filepath.Join(p.dir, name)); err != nil {
		p.t.Fatal(err)
	}
}

// allLogs are the logs of a run with what the agent itself says in them.
func (p *project) allLogs(run string) string {
	p.t.Helper()
	cl, err := sys.Client()
	if err != nil {
		p.t.Fatal(err)
	}
	defer cl.Release()
	var text strings.Builder
	err = cl.Logs(p.t.Context(), &apiv1.StreamLogsRequest{RunId: run, Follow: true}, func(l *apiv1.StreamLogsResponse) error {
		text.Write(l.GetData())
		return nil
	})
	if err != nil {
		p.t.Fatalf("logs of %s: %v", run, err)
	}
	return text.String()
}

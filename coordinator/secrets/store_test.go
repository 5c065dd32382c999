package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// rig is a store whose clock the test has.
type rig struct {
	*Store
	t     *testing.T
	dir   string
	key   Key
	clock *clock.Fake
	calls int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "secrets"), key: Key{File: filepath.Join(t.TempDir(), "key")}, clock: clock.NewFake(time.Unix(1_800_000_000, 0))}
	r.reopen()
	return r
}

// reopen is what a restart of the coordinator does.
func (r *rig) reopen() {
	r.t.Helper()
	var err error
	if r.Store, err = Open(r.t.Context(), r.dir, r.key, r.clock, slog.New(slog.DiscardHandler)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) change(scope, name string) Change {
	r.calls++
	return Change{RequestID: fmt.Sprint("request ", r.calls), Scope: scope, Name: name, By: "ann"}
}

func (r *rig) set(k Kind, scope, name, value string) Entry {
	r.t.Helper()
	e, err := r.Set(k, r.change(scope, name), value)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// values are the project's as of a revision, as "A=1 B=2".
func (r *rig) values(project string, revision uint64) string {
	r.t.Helper()
	got, err := r.Values(project, revision, func(string) bool { return true })
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(got)) {
		out = append(out, name+"="+got[name])
	}
	return strings.Join(out, " ")
}

func TestAProjectsSecretsGoBeforeTheOrganisations(t *testing.T) {
	r := newRig(t)
	r.set(Secrets, Organisation, "token", "of all")
	r.set(Secrets, Organisation, "other", "x")
	r.set(Secrets, "team/app", "Token", "of the project")
	r.reopen()
	for project, want := range map[string]string{"team/app": "OTHER=x TOKEN=of the project", "team": "OTHER=x TOKEN=of all"} {
		if got := r.values(project, r.Now()); got != want {
			t.Errorf("%s: %s, want %s", project, got, want)
		}
	}
	all, err := r.List(Secrets, "team/app")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprintf("%s of %q, version %d by %s%s", e.Name, e.Scope, e.Version, e.UpdatedBy, e.Value))
	}
	want := []string{`OTHER of "", version 1 by ann`, `TOKEN of "", version 1 by ann`, `TOKEN of "team/app", version 1 by ann`}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
}

// TestAnAttemptGetsWhatItHadAgain: by its revision, whatever was set, removed or restarted since.
func TestAnAttemptGetsWhatItHadAgain(t *testing.T) {
	r := newRig(t)
	if r.Now() == 0 {
		t.Fatal("revision 0 would mean the newest")
	}
	before := r.Now()
	r.set(Secrets, "p", "A", "1")
	r.set(Secrets, "p", "B", "1")
	first := r.Now()
	r.set(Secrets, "p", "A", "2")
	if err := r.Remove(Secrets, r.change("p", "B")); err != nil {
		t.Fatal(err)
	}
	r.set(Secrets, "p", "C", "1")
	r.reopen()
	for revision, want := range map[uint64]string{before: "", first: "A=1 B=1", r.Now(): "A=2 C=1"} {
		if got := r.values("p", revision); got != want {
			t.Errorf("revision %d: %q, want %q", revision, got, want)
		}
	}
	r.clock.Advance(KeepFor + time.Minute)
	r.set(Secrets, "p", "A", "3")
	r.clock.Advance(KeepFor + time.Minute)
	r.reopen()
	if _, err := r.Values("p", first, func(n string) bool { return n == "A" }); !errors.Is(err, ErrGone) {
		t.Errorf("a version that was dropped: %v, want ErrGone", err)
	}
	if got := r.values("p", r.Now()); got != "A=3 C=1" {
		t.Errorf("what holds is %q", got)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "secrets", "project-p", "B")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of a secret that was removed long ago: %v, want none", err)
	}
}

func TestVersionsAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range maxVersions + 5 {
		if e := r.set(Secrets, "p", "A", fmt.Sprint(i)); e.Version != uint32(i+1) {
			t.Fatalf("version %d, want %d", e.Version, i+1)
		}
	}
	rec, err := read(r.scopeDir(Secrets, "p"), "A")
	if err != nil || len(rec.Versions) != maxVersions {
		t.Errorf("%d versions kept, want %d (%v)", len(rec.Versions), maxVersions, err)
	}
}

func TestARepeatedRequestReturnsTheFirstResult(t *testing.T) {
	r := newRig(t)
	c := r.change("p", "A")
	first, err := r.Set(Secrets, c, "1")
	if err != nil {
		t.Fatal(err)
	}
	r.set(Secrets, "p", "A", "2")
	r.reopen()
	if again, err := r.Set(Secrets, c, "1"); err != nil || again != first {
		t.Errorf("again: %+v, %v, want %+v", again, err, first)
	}
	if got := r.values("p", r.Now()); got != "A=2" {
		t.Errorf("%s, want A=2", got)
	}
	c = r.change("p", "A")
	if err := errors.Join(r.Remove(Secrets, c), r.Remove(Secrets, c)); err != nil {
		t.Error(err)
	}
	if err := r.Remove(Secrets, r.change("p", "A")); rpcerr.ReasonOf(err) != rpcerr.NotFound {
		t.Errorf("removing what is removed: %v, want NOT_FOUND", err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	r := newRig(t)
	big := strings.Repeat("x", MaxValue)
	r.set(Secrets, "p", "BIG", big)
	for _, tt := range []struct {
		kind              Kind
		name, value, want string
	}{
		{Secrets, "", "x", "1 to 128 bytes"},
		{Secrets, "1A", "x", "begin with a digit"},
		{Secrets, "github_token", "x", "GITHUB_"},
		{Secrets, "../A", "x", "letters, digits and _"},
		{Secrets, "Ä", "x", "letters, digits and _"},
		{Secrets, "A", "", "empty"},
		{Secrets, "A", big + "x", "49153 bytes"},
		{Secrets, "A", "\xff", "no text"},
		{Secrets, "A", "a\x00b", "no text"},
		{Variables, "A", big + "x", "49153 bytes"},
	} {
		_, err := r.Set(tt.kind, r.change("p", tt.name), tt.value)
		if rpcerr.ReasonOf(err) != rpcerr.InvalidRequest || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %q: %v, want INVALID_REQUEST with %q", tt.kind, tt.name, err, tt.want)
		}
	}
	r.set(Variables, "p", "EMPTY", "")
}

func TestScopesAreBounded(t *testing.T) {
	r := newRig(t)
	r.set(Secrets, "p", "S0", "x")
	for i := range maxProjectSecrets - 1 { // without waiting for the disk a hundred times
		text := fmt.Appendf(nil, `{"name": "S%d", "versions": [{"number": 1, "revision": 2, "time_ms": 1, "sealed": "eA=="}]}`, i+1)
		if err := os.WriteFile(filepath.Join(r.scopeDir(Secrets, "p"), fmt.Sprint("S", i+1)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Set(Secrets, r.change("p", "ONE_MORE"), "x"); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Errorf("secret %d: %v, want INVALID_REQUEST", maxProjectSecrets+1, err)
	}
	r.set(Secrets, "p", "S0", "a new version is no other secret")
	value := strings.Repeat("x", MaxValue)
	r.set(Variables, "p", "A", value)
	r.set(Variables, "p", "B", value)
	if _, err := r.Set(Variables, r.change("p", "C"), value); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Errorf("144 KiB of variables: %v, want INVALID_REQUEST", err)
	}
	r.set(Variables, "q", "C", value)
}

func TestNothingIsWrittenInTheClear(t *testing.T) {
	r := newRig(t)
	const plain = "correct horse battery staple"
	r.set(Secrets, "p", "A", plain)
	info, err := os.Stat(r.key.File)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v, want mode 0600", info, err)
	}
	files := 0
	err = filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(plain)) {
			t.Errorf("%s holds it", path)
		}
		if info, _ := d.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || files != 2 {
		t.Errorf("%d files, %v, want 2: the check and the secret", files, err)
	}
}

// TestFilesCanNotBeExchanged: somebody who can write the files can't make a job get another secret, or an old version.
func TestFilesCanNotBeExchanged(t *testing.T) {
	r := newRig(t)
	r.set(Secrets, "p", "A", "a")
	r.set(Secrets, "q", "A", "of q")
	dir := r.scopeDir(Secrets, "p")
	data, err := os.ReadFile(filepath.Join(r.scopeDir(Secrets, "q"), "A"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "A"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Values("p", r.Now(), func(string) bool { return true }); err == nil {
		t.Errorf("project p gets %q", got)
	} else if strings.Contains(err.Error(), "of q") {
		t.Errorf("the error tells it: %v", err)
	}
}

func TestKeys(t *testing.T) {
	r := newRig(t)
	r.set(Secrets, "p", "A", "a")
	text, err := os.ReadFile(r.key.File)
	if err != nil {
		t.Fatal(err)
	}
	open := func(k Key) error {
		_, err := Open(t.Context(), r.dir, k, r.clock, slog.New(slog.DiscardHandler))
		return err
	}
	if err := open(Key{Command: []string{"cat", r.key.File}}); err != nil {
		t.Errorf("a command that prints the key: %v", err)
	}
	other := newRig(t)
	for name, tt := range map[string]struct {
		key  Key
		want string
	}{
		"none":          {Key{}, "no key for them is configured"},
		"another":       {other.key, "does not open the secrets"},
		"not there":     {Key{File: filepath.Join(t.TempDir(), "key")}, "no such file"},
		"fails":         {Key{Command: []string{"sh", "-c", "echo reason >&2; exit 3"}}, "reason"},
		"prints no key": {Key{Command: []string{"echo", "hello"}}, "no age identity"},
	} {
		if err := open(tt.key); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	// A new key in front of the old one: what was sealed is opened still, what is set now is for the new one.
	fresh, err := os.ReadFile(other.key.File)
	if err == nil {
		err = os.WriteFile(r.key.File, append(fresh, text...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.reopen()
	r.set(Secrets, "p", "B", "b")
	if got := r.values("p", r.Now()); got != "A=a B=b" {
		t.Errorf("with both keys: %s", got)
	}
	if err := os.Chmod(r.key.File, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := open(r.key); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
}

func TestWithoutAKeyThereAreVariablesOnly(t *testing.T) {
	r := newRig(t)
	r.dir, r.key = filepath.Join(t.TempDir(), "secrets"), Key{}
	r.reopen()
	r.set(Variables, Organisation, "A", "1")
	r.set(Variables, Organisation, "B", "1")
	r.set(Variables, "p", "A", "2")
	got, err := r.Variables("p")
	if err != nil || !maps.Equal(got, map[string]string{"A": "2", "B": "1"}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := r.Set(Secrets, r.change("p", "A"), "x"); rpcerr.ReasonOf(err) != rpcerr.PolicyRefused {
		t.Errorf("a secret without a key: %v, want POLICY_REFUSED", err)
	}
}

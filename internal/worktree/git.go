package worktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/slipway-ci/slipway/internal/archive"
)

// gitError is a git command that failed; its text is git's own.
type gitError struct {
	args   []string
	stderr string
	err    error
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s: %s", strings.Join(e.args, " "), orText(e.stderr, e.err.Error()))
}

func (e *gitError) Unwrap() error { return e.err }

// run calls git in dir. Optional locks are off so that looking at a tree never makes a `git status` elsewhere fail.
func run(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C"), env...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", &gitError{args, strings.TrimSpace(stderr.String()), err}
	}
	return out.String(), nil
}

func (t *Tree) run(ctx context.Context, args ...string) (string, error) {
	out, err := run(ctx, t.Root, nil, args...)
	return strings.TrimSpace(out), err
}

// insideRepository looks for .git upwards before it asks git, so that a tree outside any repository needs no git. A
// repository that git refuses (owned by someone else, damaged) is an error: packing it blindly would take ignored files.
func insideRepository(ctx context.Context, dir string) (bool, error) {
	found := false
	for d := dir; !found; d = filepath.Dir(d) {
		if _, err := os.Lstat(filepath.Join(d, ".git")); err == nil {
			found = true
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	if !found {
		return false, nil
	}
	out, err := run(ctx, dir, nil, "rev-parse", "--is-inside-work-tree")
	if err != nil {
		return false, fmt.Errorf("worktree: %s is in a git repository that git can't read: %w", dir, err)
	}
	return strings.TrimSpace(out) == "true", nil
}

// Top returns the top directory of the repository that dir is in; "" outside any.
func Top(ctx context.Context, dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	inside, err := insideRepository(ctx, abs)
	if err != nil || !inside {
		return "", err
	}
	out, err := run(ctx, abs, nil, "rev-parse", "--show-toplevel")
	return strings.TrimSuffix(out, "\n"), err
}

// head fills SHA, Ref and Dirty from HEAD.
func (t *Tree) head(ctx context.Context) error {
	branch, err := t.run(ctx, "symbolic-ref", "--quiet", "HEAD")
	detached := err != nil
	if !detached {
		t.Ref = branch
	}
	sha, err := t.run(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if err != nil {
		t.Dirty = true // A repository without a commit: everything in it is new.
		return ctx.Err()
	}
	t.SHA = sha
	if detached {
		t.Ref = t.nameOf(ctx, sha)
	}
	status, err := t.run(ctx, "status", "--porcelain", "--untracked-files=normal", "--", ".")
	if err != nil {
		return fmt.Errorf("worktree: %w", err)
	}
	t.Dirty = status != ""
	return nil
}

// at makes the tree a commit.
func (t *Tree) at(ctx context.Context, ref string) error {
	if strings.HasPrefix(ref, "-") {
		return fmt.Errorf("%w: %q", ErrUnknownRef, ref)
	}
	sha, err := t.run(ctx, "rev-parse", "--verify", "--quiet", ref+"^{commit}")
	if err != nil {
		return fmt.Errorf("%w: %s has no commit, branch or tag %q (fetch it first if a remote has it)", ErrUnknownRef, t.Root, ref)
	}
	t.SHA, t.commit = sha, sha
	full, err := t.run(ctx, "rev-parse", "--symbolic-full-name", ref)
	switch {
	case err == nil && strings.HasPrefix(full, "refs/remotes/"):
		t.Ref = branchOfRemote(full)
	case err == nil && strings.HasPrefix(full, "refs/"):
		t.Ref = full
	default:
		t.Ref = t.nameOf(ctx, sha)
	}
	return nil
}

// nameOf finds a tag or branch that points at a commit; the commit itself if there is none.
func (t *Tree) nameOf(ctx context.Context, sha string) string {
	for _, where := range []string{"refs/tags/", "refs/heads/", "refs/remotes/"} {
		out, err := t.run(ctx, "for-each-ref", "--points-at", sha, "--format=%(refname)", where)
		if err != nil || out == "" {
			continue
		}
		name, _, _ := strings.Cut(out, "\n")
		if where == "refs/remotes/" {
			return branchOfRemote(name)
		}
		return name
	}
	return sha
}

// branchOfRemote turns refs/remotes/origin/x/y into refs/heads/x/y.
func branchOfRemote(full string) string {
	_, branch, _ := strings.Cut(strings.TrimPrefix(full, "refs/remotes/"), "/")
	return "refs/heads/" + branch
}

// remote fills Repository from origin, or else from the first remote.
func (t *Tree) remote(ctx context.Context) error {
	out, err := t.run(ctx, "config", "--get-regexp", `^remote\..*\.url$`)
	if err != nil {
		return ctx.Err() // No remote is no error.
	}
	first := ""
	for line := range strings.Lines(out) {
		key, address, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == "remote.origin.url" {
			first = address
			break
		}
		if first == "" {
			first = address
		}
	}
	if name := repositoryName(first); name != "" {
		t.Repository = name
	}
	return nil
}

// repositoryName takes owner/name from a remote's address: URL, scp-like or path; "" if there is no such thing in it.
func repositoryName(address string) string {
	path := address
	if u, err := url.Parse(address); err == nil && u.Scheme != "" && u.Host != "" {
		path = u.Path
	} else if host, rest, ok := strings.Cut(address, ":"); ok && !strings.Contains(host, "/") {
		path = rest
	}
	parts := strings.FieldsFunc(strings.TrimSuffix(path, ".git"), func(r rune) bool { return r == '/' })
	if len(parts) < 2 {
		return ""
	}
	return safeName(parts[len(parts)-2]) + "/" + safeName(parts[len(parts)-1])
}

// listed is what git tracks or would track under Root, or what the commit holds there.
func (t *Tree) listed(ctx context.Context) ([]string, error) {
	args := []string{"ls-files", "-co", "--exclude-standard", "-z", "--", "."}
	if t.commit != "" {
		args = []string{"ls-tree", "-r", "--name-only", "-z", t.commit, "."}
	}
	out, err := run(ctx, t.Root, nil, args...)
	if err != nil {
		return nil, fmt.Errorf("worktree: listing files: %w", err)
	}
	files := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	if len(files) == 1 && files[0] == "" {
		return nil, nil
	}
	return files, nil
}

// show reads a file of the commit.
func (t *Tree) show(ctx context.Context, path string, limit int64) ([]byte, error) {
	kind, err := t.run(ctx, "cat-file", "-t", t.commit+":./"+path)
	if err != nil {
		return nil, fmt.Errorf("%s at %.12s: %w", path, t.commit, fs.ErrNotExist)
	}
	if kind != "blob" {
		return nil, fmt.Errorf("%s at %.12s: %w", path, t.commit, errors.ErrUnsupported)
	}
	out, err := run(ctx, t.Root, nil, "cat-file", "blob", t.commit+":./"+path)
	return []byte(out[:min(int64(len(out)), limit+1)]), err
}

// packCommit lays the commit out in a temporary directory, as a checkout would (attributes and filters applied, which
// `git archive` would mix with export-ignore), and packs that.
func (t *Tree) packCommit(ctx context.Context, w io.Writer) error {
	tmp, err := os.MkdirTemp("", "slipway-tree-")
	if err != nil {
		return fmt.Errorf("worktree: %w", err)
	}
	defer os.RemoveAll(tmp)
	prefix, err := run(ctx, t.Root, nil, "rev-parse", "--show-prefix")
	if err != nil {
		return fmt.Errorf("worktree: %w", err)
	}
	top, err := run(ctx, t.Root, nil, "rev-parse", "--show-toplevel")
	if err != nil {
		return fmt.Errorf("worktree: %w", err)
	}
	env := []string{"GIT_INDEX_FILE=" + filepath.Join(tmp, "index")}
	treeish := t.commit + ":" + strings.TrimSuffix(strings.TrimSpace(prefix), "/")
	tree := filepath.Join(tmp, "tree")
	dir := strings.TrimSuffix(top, "\n")
	if _, err := run(ctx, dir, env, "read-tree", treeish); err != nil {
		return fmt.Errorf("worktree: %s has nothing at %.12s: %w", t.Root, t.commit, err)
	}
	if _, err := run(ctx, dir, env, "checkout-index", "--all", "--force", "--prefix="+tree+"/"); err != nil {
		return fmt.Errorf("worktree: laying out %.12s: %w", t.commit, err)
	}
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return fmt.Errorf("worktree: %w", err)
	}
	files, err := walk(ctx, tree)
	if err != nil {
		return err
	}
	return archive.Pack(w, tree, files)
}

func orText(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

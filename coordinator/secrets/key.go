package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"filippo.io/age"
)

// Key says where the operator's key is: a file, or a program that prints it. The zero value is no key, and no secrets can be kept.
type Key struct {
	// File holds age identities (AGE-SECRET-KEY-1…), readable by its owner only. The first one seals; all open.
	File string
	// Command prints what File would hold: a program with its arguments, run without a shell.
	Command []string
}

const (
	// maxKey bounds in bytes what a file or a command gives.
	maxKey = 64 << 10
	// commandPatience is how long a key's command may take.
	commandPatience = 30 * time.Second
)

// none is whether no key is configured.
func (k Key) none() bool { return k.File == "" && len(k.Command) == 0 }

// load returns the identities. create makes a file that is not there.
func (k Key) load(ctx context.Context, create bool) ([]*age.X25519Identity, error) {
	if len(k.Command) > 0 {
		text, err := k.run(ctx)
		if err != nil {
			return nil, err
		}
		return parse("what "+k.Command[0]+" printed", text)
	}
	info, err := os.Stat(k.File)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		return makeKey(k.File)
	case err != nil:
		return nil, fmt.Errorf("the key of the secrets: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read by others (mode %04o), and opens all secrets: chmod 600 it, and replace key and secrets if others had access", k.File, info.Mode().Perm())
	}
	f, err := os.Open(k.File)
	if err != nil {
		return nil, fmt.Errorf("the key of the secrets: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, fmt.Errorf("the key of the secrets: %w", err)
	}
	return parse(k.File, text)
}

func (k Key) run(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, k.Command[0], k.Command[1:]...) //nolint:gosec // the operator's own configuration
	cmd.Stdout, cmd.Stderr = &limited{w: &out, left: maxKey}, &limited{w: &said, left: 1 << 10}
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the command of the secrets' key, %s: %w: %s", k.Command[0], err, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), nil
}

// limited drops what is too much.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	_, err := l.w.Write(p[:n])
	return len(p), err
}

// parse never quotes the text: it is the key.
func parse(from string, text []byte) ([]*age.X25519Identity, error) {
	all, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s holds no age identity, one AGE-SECRET-KEY-1… a line", from)
	}
	var out []*age.X25519Identity
	for _, id := range all {
		x, ok := id.(*age.X25519Identity)
		if !ok {
			return nil, fmt.Errorf("%s holds an age identity of another kind than X25519 (AGE-SECRET-KEY-1…)", from)
		}
		out = append(out, x)
	}
	return out, nil
}

func makeKey(path string) ([]*age.X25519Identity, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("making the key of the secrets: %w", err)
	}
	text := fmt.Sprintf("# Opens the secrets of this coordinator. Keep a copy apart from them.\n# public key: %s\n%s\n", id.Recipient(), id)
	if err := writeFile(path, []byte(text)); err != nil {
		return nil, fmt.Errorf("making the key of the secrets: %w", err)
	}
	return []*age.X25519Identity{id}, nil
}

package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/seal"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// MaxBundle bounds the bytes of a bundle that is read.
const MaxBundle = 256 << 20

// History implements engine.History. Safe for concurrent use.
type History struct {
	db    *sql.DB
	blobs blob.Store
	log   *slog.Logger
	fresh bool

	mu     sync.Mutex
	cached map[string]*statev1.Bundle // by digest: the last few, for people who look around in one run
	fifo   []string
}

var _ engine.History = (*History)(nil)

const cachedBundles = 16

// Open opens the index at path, made if it is missing, damaged or of another version: Follow fills it then. Close it. One process at a time may
// have it open so; others Look.
func Open(ctx context.Context, path string, blobs blob.Store, log *slog.Logger) (*History, error) {
	db, fresh, err := openIndex(ctx, path)
	if err != nil {
		return nil, err
	}
	return &History{db: db, blobs: blobs, log: log, fresh: fresh, cached: map[string]*statev1.Bundle{}}, nil
}

// Look opens the index at path for reading only, beside the process that has it open: nothing is made, mended or written. ErrDamaged if it can't be
// used as it is. Close it.
func Look(ctx context.Context, path string, blobs blob.Store, log *slog.Logger) (*History, error) {
	db, err := lookAt(ctx, path)
	if err != nil {
		return nil, err
	}
	return &History{db: db, blobs: blobs, log: log, cached: map[string]*statev1.Bundle{}}, nil
}

// Close closes the index.
func (h *History) Close() error { return h.db.Close() }

// ReadBundle reads a bundle and holds it against its digest.
func ReadBundle(ctx context.Context, blobs blob.Store, digest string) (*statev1.Bundle, int64, error) {
	data, err := blob.ReadAll(ctx, blobs, digest, MaxBundle)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the bundle of a sealed run: %w", err)
	}
	b, err := seal.Decode(data)
	if err != nil {
		return nil, 0, fmt.Errorf("reading bundle %s: %w", digest, err)
	}
	return b, int64(len(data)), nil
}

// SealedAs is the digest of a run's bundle, "" if it has none.
func (h *History) SealedAs(ctx context.Context, runID string) (digest string, err error) {
	err = h.db.QueryRowContext(ctx, "SELECT bundle FROM runs WHERE id = ?", runID).Scan(&digest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("looking for sealed run %s: %w", runID, err)
	}
	return digest, nil
}

// Sealed implements engine.History.
func (h *History) Sealed(ctx context.Context, runID string) (*statev1.Bundle, error) {
	digest, err := h.SealedAs(ctx, runID)
	if err != nil || digest == "" {
		return nil, err
	}
	h.mu.Lock()
	b := h.cached[digest]
	h.mu.Unlock()
	if b != nil {
		return b, nil
	}
	b, _, err = ReadBundle(ctx, h.blobs, digest)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", runID, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cached[digest] == nil {
		h.cached[digest] = b
		h.fifo = append(h.fifo, digest)
	}
	if len(h.fifo) > cachedBundles {
		delete(h.cached, h.fifo[0])
		h.fifo = h.fifo[1:]
	}
	return b, nil
}

// Named implements engine.History.
func (h *History) Named(ctx context.Context, prefix string, limit int) ([]string, error) {
	return texts(h.db.QueryContext(ctx, "SELECT id FROM runs WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", prefix, prefix+"~", limit))
}

// texts reads a column of text.
func texts(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, fmt.Errorf("searching sealed runs: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, fmt.Errorf("searching sealed runs: %w", err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("searching sealed runs: %w", err)
	}
	return out, nil
}

// Numbered implements engine.History.
func (h *History) Numbered(ctx context.Context, number uint64) (map[string]string, error) {
	pairs, err := texts(h.db.QueryContext(ctx, "SELECT project || ' ' || id FROM runs WHERE number = ? ORDER BY id", int64(number)))
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(pairs))
	for _, p := range pairs {
		at := strings.LastIndex(p, " ")
		out[p[:at]] = p[at+1:]
	}
	return out, nil
}

// List implements engine.History.
func (h *History) List(ctx context.Context, q engine.RunQuery) ([]*apiv1.Run, error) {
	var where []string
	var args []any
	add := func(cond string, values ...any) { where, args = append(where, cond), append(args, values...) }
	if q.Project != "" {
		add("project = ?", q.Project)
	}
	if q.Pipeline != "" {
		add("(name = ? OR path = ? OR file = ?)", q.Pipeline, q.Pipeline, q.Pipeline)
	}
	if q.Branch != "" {
		add("ref IN (?, ?, ?)", q.Branch, "refs/heads/"+q.Branch, "refs/tags/"+q.Branch)
	}
	if q.Commit != "" {
		add("sha >= ? AND sha < ?", q.Commit, q.Commit+"~")
	}
	if q.Actor != "" {
		add("actor = ?", q.Actor)
	}
	if len(q.States) > 0 {
		marks := make([]any, len(q.States))
		for i, s := range q.States {
			marks[i] = int64(s)
		}
		add("state IN (?"+strings.Repeat(", ?", len(marks)-1)+")", marks...)
	}
	if q.SinceMS != 0 {
		add("created >= ?", q.SinceMS)
	}
	if q.UntilMS != 0 {
		add("created < ?", q.UntilMS)
	}
	if q.Before != "" {
		add("id < ?", q.Before)
	}
	query := "SELECT summary FROM runs"
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	summaries, err := texts(h.db.QueryContext(ctx, query+" ORDER BY id DESC LIMIT ?", append(args, q.Limit)...))
	if err != nil {
		return nil, err
	}
	out := make([]*apiv1.Run, 0, len(summaries))
	for _, s := range summaries {
		run := &apiv1.Run{}
		if err := proto.Unmarshal([]byte(s), run); err != nil {
			return nil, fmt.Errorf("an entry of the index of finished runs can't be read: %w (delete the index: it is made again)", err)
		}
		out = append(out, run)
	}
	return out, nil
}

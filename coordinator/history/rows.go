package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Row is what the index knows of the size and age of a sealed run.
type Row struct {
	Run, Project, Bundle string
	Seq                  uint64
	EndedMS              int64
	// Bytes of the bundle itself.
	Bytes int64
}

// Rows returns all sealed runs, by project and place in its chain.
func (h *History) Rows(ctx context.Context) ([]Row, error) {
	rows, err := h.db.QueryContext(ctx, "SELECT id, project, bundle, seq, ended, bytes FROM runs ORDER BY project, seq")
	if err != nil {
		return nil, fmt.Errorf("reading the index of finished runs: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Row
	for rows.Next() {
		var r Row
		var seq int64
		if err := rows.Scan(&r.Run, &r.Project, &r.Bundle, &seq, &r.EndedMS, &r.Bytes); err != nil {
			return nil, fmt.Errorf("reading the index of finished runs: %w", err)
		}
		r.Seq = uint64(max(seq, 0))
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the index of finished runs: %w", err)
	}
	return out, nil
}

// References returns the blobs that sealed runs keep alive at a time (Unix ms), by run, bundles aside.
func (h *History) References(ctx context.Context, nowMS int64) (map[string][]Reference, error) {
	rows, err := h.db.QueryContext(ctx, "SELECT run, digest, size, until FROM refs WHERE until = 0 OR until > ?", nowMS)
	if err != nil {
		return nil, fmt.Errorf("reading the index of finished runs: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := map[string][]Reference{}
	for rows.Next() {
		var run string
		var r Reference
		if err := rows.Scan(&run, &r.Digest, &r.Size, &r.UntilMS); err != nil {
			return nil, fmt.Errorf("reading the index of finished runs: %w", err)
		}
		out[run] = append(out[run], r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the index of finished runs: %w", err)
	}
	return out, nil
}

// Complete says whether the index has all that the chains have: whoever removes what nothing refers to must know.
func (h *History) Complete(ctx context.Context, heads map[string]*statev1.ChainHead) (bool, error) {
	for project, head := range heads {
		known, link, err := h.known(ctx, project)
		if err != nil {
			return false, err
		}
		// Without a row it is 0: a head is only written with a bundle.
		if known != head.GetSeq() || link != head.GetLink() {
			return false, nil
		}
		if fits, err := h.fits(ctx, head, head.GetSeq(), head.GetBundle()); err != nil || !fits {
			return false, err
		}
	}
	return true, nil
}

// known is how far the index says that it has a chain; 0 if it knows none of it.
func (h *History) known(ctx context.Context, project string) (seq uint64, link string, err error) {
	var n int64
	err = h.db.QueryRowContext(ctx, "SELECT seq, link FROM chains WHERE project = ?", project).Scan(&n, &link)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, "", fmt.Errorf("reading the index of finished runs: %w", err)
	}
	return uint64(max(n, 0)), link, nil
}

// fits says whether each place of a chain that has not expired, up to one, has just one entry, and that one this bundle. An entry with the place
// of another would otherwise stand in for one that is missing.
func (h *History) fits(ctx context.Context, head *statev1.ChainHead, upTo uint64, bundle string) (bool, error) {
	if upTo <= head.GetExpired() {
		return true, nil
	}
	var entries, places, last int64
	err := h.db.QueryRowContext(ctx, "SELECT count(*), count(DISTINCT seq) FROM runs WHERE project = ? AND seq BETWEEN ? AND ?",
		head.GetProject(), int64(head.GetExpired()+1), int64(upTo)).Scan(&entries, &places)
	if err == nil {
		err = h.db.QueryRowContext(ctx, "SELECT count(*) FROM runs WHERE project = ? AND seq = ? AND bundle = ?", head.GetProject(), int64(upTo), bundle).Scan(&last)
	}
	if err != nil {
		return false, fmt.Errorf("reading the index of finished runs: %w", err)
	}
	want := int64(upTo - head.GetExpired())
	return entries == want && places == want && last == 1, nil
}

package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/seal"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Entry is a bundle to be put into the index.
type Entry struct {
	Bundle *statev1.Bundle
	Digest string
	Size   int64
}

const day = 24 * 60 * 60 * 1000

// Add puts bundles into the index, in place of what it says of the same runs.
func (h *History) Add(ctx context.Context, entries []Entry) error {
	return h.write(ctx, func(tx *sql.Tx) error { return addAll(ctx, tx, entries) })
}

func (h *History) write(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("writing the index of finished runs: %w", err)
	}
	if err := f(tx); err != nil {
		return errors.Join(fmt.Errorf("writing the index of finished runs: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("writing the index of finished runs: %w", err)
	}
	return nil
}

func addAll(ctx context.Context, tx *sql.Tx, entries []Entry) error {
	run, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO runs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
	if err != nil {
		return err
	}
	clear, err := tx.PrepareContext(ctx, "DELETE FROM refs WHERE run = ?")
	if err != nil {
		return err
	}
	ref, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO refs VALUES (?,?,?,?)")
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, head, def := e.Bundle, e.Bundle.GetHeader(), e.Bundle.GetDefinition()
		view, err := engine.ViewSealed(b, false)
		if err != nil {
			return err
		}
		summary, err := proto.Marshal(view)
		if err != nil {
			return err
		}
		id, src := head.GetId(), def.GetSource()
		if _, err := run.ExecContext(ctx, id, b.GetProject(), int64(head.GetNumber()), def.GetName(), def.GetPath(), path.Base(def.GetPath()), src.GetRef(), src.GetSha(),
			def.GetActor(), int64(head.GetState()), head.GetCreatedMs(), head.GetEndedMs(), int64(b.GetSeq()), e.Digest, e.Size, summary); err != nil {
			return err
		}
		if _, err := clear.ExecContext(ctx, id); err != nil {
			return err
		}
		for _, r := range References(b) {
			if _, err := ref.ExecContext(ctx, id, r.Digest, r.Size, r.UntilMS); err != nil {
				return err
			}
		}
	}
	return nil
}

// Reference is a blob that a sealed run keeps alive.
type Reference struct {
	Digest string
	Size   int64
	// UntilMS is when it may go before its run does (Unix ms); 0 is never.
	UntilMS int64
}

// References are the blobs that a bundle keeps alive, each once, itself aside.
func References(b *statev1.Bundle) []Reference {
	var out []Reference
	at := map[string]int{}
	add := func(r Reference) {
		i, known := at[r.Digest]
		switch {
		case r.Digest == "":
		case !known:
			at[r.Digest] = len(out)
			out = append(out, r)
		case out[i].UntilMS != 0 && (r.UntilMS == 0 || r.UntilMS > out[i].UntilMS):
			out[i].UntilMS = r.UntilMS // the longest counts
		}
	}
	add(Reference{Digest: b.GetLogs().GetDigest(), Size: b.GetLogs().GetSize()})
	for _, r := range b.GetBlobs() {
		until := int64(0)
		if r.GetRetentionDays() > 0 {
			until = b.GetHeader().GetEndedMs() + int64(r.GetRetentionDays())*day
		}
		add(Reference{Digest: r.GetDigest(), Size: r.GetSize(), UntilMS: until})
	}
	return out
}

// Move is the step of a chain from one head to another; From is nil for the first.
type Move struct{ From, To *statev1.ChainHead }

// Advance notes that chains are in the index up to where they have moved. What lacked something before lacks it still: only Follow finds that.
func (h *History) Advance(ctx context.Context, moves ...Move) error {
	return h.write(ctx, func(tx *sql.Tx) error {
		for _, m := range moves {
			query, args := "UPDATE chains SET seq = ?2, link = ?3 WHERE project = ?1 AND link = ?4", []any{m.To.GetProject(), int64(m.To.GetSeq()), m.To.GetLink(), m.From.GetLink()}
			if m.From == nil {
				query, args = "INSERT OR IGNORE INTO chains VALUES (?1,?2,?3)", args[:3]
			}
			if _, err := tx.ExecContext(ctx, query, args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Forget takes the bundles of a project up to a place out of the index.
func (h *History) Forget(ctx context.Context, project string, upTo uint64) error {
	return h.write(ctx, func(tx *sql.Tx) error { return forget(ctx, tx, project, 0, upTo) })
}

// forget removes the entries from a place to another.
func forget(ctx context.Context, tx *sql.Tx, project string, from, to uint64) error {
	const these = "project = ? AND seq BETWEEN ? AND ?"
	if _, err := tx.ExecContext(ctx, "DELETE FROM refs WHERE run IN (SELECT id FROM runs WHERE "+these+")", project, int64(from), int64(to)); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM runs WHERE "+these, project, int64(from), int64(to))
	return err
}

// followBatch is how many bundles are read between two writes.
const followBatch = 500

// Follow brings the index to where the chains are: it adds bundles that it lacks and removes expired ones. Bundles that can't be read are left
// out, and their errors are joined to the answer: the others are found all the same.
func (h *History) Follow(ctx context.Context, heads map[string]*statev1.ChainHead) (added int, err error) {
	var errs []error
	for project, head := range heads {
		n, err := h.follow(ctx, head)
		added += n
		if err != nil {
			errs = append(errs, fmt.Errorf("project %s: %w", project, err))
		}
	}
	return added, errors.Join(errs...)
}

func (h *History) follow(ctx context.Context, head *statev1.ChainHead) (added int, err error) {
	known, link, err := h.known(ctx, head.GetProject())
	if err != nil {
		return 0, err
	}
	// Entries past the head are of runs whose sealing did not come to its end: they are in the store, and will be sealed again.
	if err := h.write(ctx, func(tx *sql.Tx) error {
		return errors.Join(forget(ctx, tx, head.GetProject(), head.GetSeq()+1, 1<<62), forget(ctx, tx, head.GetProject(), 0, head.GetExpired()))
	}); err != nil {
		return 0, err
	}
	if known == head.GetSeq() && link == head.GetLink() {
		if fits, err := h.fits(ctx, head, known, head.GetBundle()); err != nil || fits {
			return 0, err
		}
	}
	if added, err = h.walk(ctx, head, known, link); err != nil {
		return added, err
	}
	return added, h.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO chains VALUES (?,?,?)", head.GetProject(), int64(head.GetSeq()), head.GetLink())
		return err
	})
}

// walk adds the bundles of a chain from its head back to what the index has of it, or to its beginning if that doesn't fit.
func (h *History) walk(ctx context.Context, head *statev1.ChainHead, known uint64, link string) (added int, err error) {
	var entries []Entry
	flush := func() error {
		added += len(entries)
		err := h.place(ctx, entries)
		entries = nil
		return err
	}
	digest := head.GetBundle()
	for w, at := seal.Walk(head), head.GetSeq(); at > head.GetExpired(); at-- {
		b, size, err := ReadBundle(ctx, h.blobs, digest)
		if err == nil {
			err = w.Bundle(b, digest)
		}
		if err != nil {
			// Without it nobody knows what is before it.
			return added, errors.Join(err, flush())
		}
		entries = append(entries, Entry{Bundle: b, Digest: digest, Size: size})
		if len(entries) == followBatch {
			if err := flush(); err != nil {
				return added, err
			}
		}
		digest = b.GetPrevious()
		if at == known+1 && b.GetPreviousLink() == link {
			if fits, err := h.fits(ctx, head, known, digest); err != nil {
				return added, errors.Join(err, flush())
			} else if fits {
				break
			}
		}
	}
	return added, flush()
}

// place puts bundles of a chain into the index, in place of what it has at their places.
func (h *History) place(ctx context.Context, entries []Entry) error {
	return h.write(ctx, func(tx *sql.Tx) error {
		for _, e := range entries {
			if err := forget(ctx, tx, e.Bundle.GetProject(), e.Bundle.GetSeq(), e.Bundle.GetSeq()); err != nil {
				return err
			}
		}
		return addAll(ctx, tx, entries)
	})
}

// Size is what the index knows of all sealed runs, for metrics.
type Size struct{ Runs, Bytes int64 }

// Size counts runs and the bytes of bundles and of the blobs that they keep alive, each blob once.
func (h *History) Size(ctx context.Context) (Size, error) {
	var s Size
	err := h.db.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(bytes), 0) + coalesce((SELECT sum(size) FROM (SELECT max(size) AS size FROM refs GROUP BY digest)), 0) FROM runs").Scan(&s.Runs, &s.Bytes)
	if err != nil {
		return Size{}, fmt.Errorf("reading the index of finished runs: %w", err)
	}
	return s, nil
}

// EachReference calls f for every blob that a sealed run keeps alive at a time (Unix ms), bundles included, some of them more than once.
func (h *History) EachReference(ctx context.Context, nowMS int64, f func(digest string)) error {
	for _, query := range []string{"SELECT bundle FROM runs", fmt.Sprintf("SELECT digest FROM refs WHERE until = 0 OR until > %d", nowMS)} {
		if err := each(ctx, h.db, query, f); err != nil {
			return err
		}
	}
	return nil
}

func each(ctx context.Context, db *sql.DB, query string, f func(string)) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("reading the index of finished runs: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return fmt.Errorf("reading the index of finished runs: %w", err)
		}
		f(s)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading the index of finished runs: %w", err)
	}
	return nil
}

// openRange reads a part of a blob, directly where the store can.
func openRange(ctx context.Context, blobs blob.Store, digest string, offset, length int64) (readCloser, error) {
	if r, ok := blobs.(blob.Ranger); ok {
		return r.OpenRange(ctx, digest, offset, length)
	}
	return skipTo(ctx, blobs, digest, offset, length)
}

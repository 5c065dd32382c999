package seal

import (
	"errors"
	"fmt"

	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// ErrChain: a chain does not hold together.
var ErrChain = errors.New("seal: the chain is broken")

// Walker follows a chain from its head to its beginning and holds every piece against the one after it. The zero value follows nothing.
type Walker struct {
	project string
	// what the next piece must be: its place, its link, and its digest if that is known.
	seq          uint64
	link, digest string
}

// Walk begins at a head.
func Walk(head *statev1.ChainHead) *Walker {
	return &Walker{project: head.GetProject(), seq: head.GetSeq(), link: head.GetLink(), digest: head.GetBundle()}
}

// Next says which piece is wanted: its place and, unless the pieces after it were tombstones, the digest of its bundle. done: there is none.
func (w *Walker) Next() (seq uint64, digest string, done bool) { return w.seq, w.digest, w.seq == 0 }

// Bundle takes the wanted piece, with the digest of its bytes; the error wraps ErrChain and says what does not fit.
func (w *Walker) Bundle(b *statev1.Bundle, digest string) error {
	if b.GetProject() != w.project || b.GetSeq() != w.seq {
		return fmt.Errorf("%w: bundle %s is number %d of project %s, where number %d of project %s belongs", ErrChain, digest, b.GetSeq(), b.GetProject(), w.seq, w.project)
	}
	return w.take(b.GetPreviousLink(), digest, b.GetPrevious())
}

// Tombstone takes what stands for the wanted piece.
func (w *Walker) Tombstone(t *statev1.Tombstone) error {
	if t.GetSeq() != w.seq {
		return fmt.Errorf("%w: there is a tombstone of number %d of project %s where that of number %d belongs", ErrChain, t.GetSeq(), w.project, w.seq)
	}
	return w.take(t.GetPreviousLink(), t.GetBundle(), "")
}

func (w *Walker) take(previousLink, digest, previous string) error {
	if w.seq == 0 {
		return fmt.Errorf("%w: project %s: there is something before its beginning", ErrChain, w.project)
	}
	if got := Link(w.project, w.seq, previousLink, digest); got != w.link {
		return fmt.Errorf("%w: number %d of project %s has link %s, and what comes after it says %s", ErrChain, w.seq, w.project, got, w.link)
	}
	w.seq, w.link, w.digest = w.seq-1, previousLink, previous
	if w.seq == 0 && previousLink != "" {
		return fmt.Errorf("%w: the first bundle of project %s says that there was one before it", ErrChain, w.project)
	}
	return nil
}

// Append gives a bundle its place after head, which may be nil, encodes it, and returns its bytes and the head that it makes. The head keeps
// what it says of tombstones.
func Append(head *statev1.ChainHead, b *statev1.Bundle) (data []byte, next *statev1.ChainHead, err error) {
	project := b.GetDefinition().GetProject()
	b.Project, b.Seq, b.PreviousLink, b.Previous = project, head.GetSeq()+1, head.GetLink(), head.GetBundle()
	if data, err = Encode(b); err != nil {
		return nil, nil, err
	}
	digest := Digest(data)
	return data, &statev1.ChainHead{Project: project, Seq: b.GetSeq(), Link: Link(project, b.GetSeq(), b.GetPreviousLink(), digest), Bundle: digest,
		LastNumber: max(head.GetLastNumber(), b.GetHeader().GetNumber()), Expired: head.GetExpired(), Tombstones: head.GetTombstones()}, nil
}

// Bury returns the tombstone of a bundle.
func Bury(b *statev1.Bundle, digest, reason string, nowMS int64) *statev1.Tombstone {
	return &statev1.Tombstone{Seq: b.GetSeq(), PreviousLink: b.GetPreviousLink(), Bundle: digest, RunId: b.GetHeader().GetId(), RunNumber: b.GetHeader().GetNumber(),
		EndedMs: b.GetHeader().GetEndedMs(), State: b.GetHeader().GetState(), ExpiredMs: nowMS, Reason: reason}
}

package holder

import "sync/atomic"

// closing is how a holder takes no more work, and tells when it has none left.
type closing struct {
	// count is how many attempts are held, for who must not wait for mu.
	count atomic.Int64
	// reason is why no work is taken; "" while some is. Guarded by mu, like isEmpty.
	reason  string
	isEmpty bool
	empty   chan struct{}
}

// Close makes the holder refuse every further offer, for reason. What it holds goes on.
func (h *Holder) Close(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closing.reason = reason
	h.countLocked()
}

// Empty is closed once the holder was closed and holds nothing any more.
func (h *Holder) Empty() <-chan struct{} { return h.closing.empty }

// Count is how many attempts are held. It never waits.
func (h *Holder) Count() int { return int(h.closing.count.Load()) }

// countLocked follows a change of what is held; the caller holds mu.
func (h *Holder) countLocked() {
	n := len(h.attempts) + len(h.records)
	h.closing.count.Store(int64(n))
	if n == 0 && h.closing.reason != "" && !h.closing.isEmpty {
		h.closing.isEmpty = true
		close(h.closing.empty)
	}
}

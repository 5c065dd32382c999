package retain

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/blob"
)

// excess is by how many bytes what is needed exceeds the quota. What nothing needs is not in it: it waits out its grace and goes by itself, and
// at each look until then more runs would expire for it. 0 if nobody knows what is needed.
func (r *Retainer) excess(ctx context.Context) (int64, error) {
	used, err := r.sum(ctx, func(string) bool { return true })
	if err != nil {
		return 0, err
	}
	r.c.Metrics.bytes.Set(float64(used))
	if r.c.Quota <= 0 || used <= r.c.Quota {
		return 0, nil
	}
	needed := map[string]bool{}
	complete, err := Mark(ctx, r.c.Store, r.c.Blobs, r.c.History, r.c.Clock.Now().UnixMilli(), func(digest, _ string) { needed[digest] = true })
	if err != nil {
		return 0, err
	}
	if !complete {
		r.c.Log.Warn("more is stored than the quota allows, and the index of finished runs is not complete; no run expires for the quota", "bytes", used, "quota", r.c.Quota)
		return 0, nil
	}
	used, err = r.sum(ctx, func(digest string) bool { return needed[digest] })
	return max(0, used-r.c.Quota), err
}

// sum is how many bytes the blobs have that count.
func (r *Retainer) sum(ctx context.Context, counts func(digest string) bool) (int64, error) {
	sum := int64(0)
	err := r.c.Blobs.Each(ctx, func(i blob.Info) error {
		if counts(i.Digest) {
			sum += i.Size
		}
		return nil
	})
	return sum, err
}

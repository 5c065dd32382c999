package containerd

import (
	"cmp"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

const (
	// maxShapes is of how many shapes pods are kept at most: those that jobs asked for last.
	maxShapes = 4
	// quietTime must pass after the last job began, or its pod was removed, before a pod is made ahead.
	quietTime = 100 * time.Millisecond
	// spoiledPause follows the first failure to make a pod of a shape, or to use one; it doubles up to spoiledMost.
	spoiledPause = 10 * time.Second
	spoiledMost  = 10 * time.Minute
	// never is a pause that something else will end.
	never = time.Hour
)

// stock decides which pods to make ahead and which to drop. It is told the time, and does nothing itself.
type stock struct {
	per     int           // of each shape
	idle    time.Duration // after which a shape that no job asks for is forgotten
	shelves map[shape]*shelf
	busy    int // jobs that are beginning or being removed now
	since   time.Time
	dirty   bool // shapes or their times changed since they were last kept
}

// shelf is what there is of one shape.
type shelf struct {
	used  time.Time
	pods  []*ahead
	fails int
	retry time.Time
}

// use notes that a job asked for a shape, and gives it a pod if there is one.
func (k *stock) use(sh shape, now time.Time, alive func(*ahead) bool) *ahead {
	f := k.shelves[sh]
	if f == nil {
		f = &shelf{}
		k.shelves[sh] = f
	}
	f.used, k.dirty = now, true
	for i, a := range f.pods {
		if alive(a) {
			f.pods = slices.Delete(f.pods, i, i+1)
			return a
		}
	}
	return nil
}

// spoil keeps a shape from being made for a while, longer each time.
func (k *stock) spoil(sh shape, now time.Time) {
	if f := k.shelves[sh]; f != nil {
		f.retry = now.Add(min(spoiledMost, spoiledPause<<min(f.fails, 10)))
		f.fails++
	}
}

// put adds a new pod; false if its shape is not wanted any more.
func (k *stock) put(a *ahead) bool {
	f := k.shelves[a.shape]
	if f == nil || len(f.pods) >= k.per {
		return false
	}
	f.pods, f.fails = append(f.pods, a), 0
	return true
}

// latest are the shapes, the one asked for last first.
func (k *stock) latest() []shape {
	all := make([]shape, 0, len(k.shelves))
	for sh := range k.shelves {
		all = append(all, sh)
	}
	slices.SortFunc(all, func(a, b shape) int {
		return cmp.Or(k.shelves[b].used.Compare(k.shelves[a].used), cmp.Compare(a.Image, b.Image), cmp.Compare(a.Mounts, b.Mounts))
	})
	return all
}

// plan says what to do now: drop pods, then make one of a shape. With nothing to do, it says how long to wait.
func (k *stock) plan(now time.Time, alive func(*ahead) bool, scarce bool) (drop []*ahead, build *shape, wait time.Duration) {
	wait = never
	if k.busy > 0 {
		return nil, nil, wait // who is busy wakes the pool
	}
	if rest := k.since.Add(quietTime).Sub(now); rest > 0 {
		return nil, nil, rest
	}
	for i, sh := range k.latest() {
		f := k.shelves[sh]
		if i >= maxShapes || now.Sub(f.used) >= k.idle {
			drop = append(drop, f.pods...)
			delete(k.shelves, sh)
			k.dirty = true
			continue
		}
		keep := f.pods[:0:0]
		for _, a := range f.pods {
			if scarce || !alive(a) {
				drop = append(drop, a)
			} else {
				keep = append(keep, a)
			}
		}
		f.pods = keep
		wait = min(wait, f.used.Add(k.idle).Sub(now))
		switch {
		case scarce || len(f.pods) >= k.per || build != nil:
		case now.Before(f.retry):
			wait = min(wait, f.retry.Sub(now))
		default:
			build = &sh
		}
	}
	return drop, build, wait
}

// all empties the stock.
func (k *stock) all() []*ahead {
	var pods []*ahead
	for _, f := range k.shelves {
		pods = append(pods, f.pods...)
		f.pods = nil
	}
	return pods
}

func (k *stock) ready() (n int) {
	for _, f := range k.shelves {
		n += len(f.pods)
	}
	return n
}

var _ sandbox.Pooled = (*Sandbox)(nil)

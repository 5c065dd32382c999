package engine

import (
	"context"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/store"
)

// runReader reads the records of many runs, in the order of their ids. It reads pages where the runs lie close together, as those of a leader
// with much to load do: three reads for each of 50,000 runs would take longer than all the rest of the load.
type runReader struct{ headers, jobs, defs cursor }

func newRunReader(s store.Store) *runReader {
	return &runReader{headers: cursor{store: s, prefix: runPrefix}, jobs: cursor{store: s, prefix: jobPrefix}, defs: cursor{store: s, prefix: defPrefix}}
}

// read returns a run as readRun does. Ids must grow from call to call.
func (r *runReader) read(ctx context.Context, id string) (*storedRun, error) {
	header, err := r.headers.take(ctx, runKey(id), func(key string) bool { return key == runKey(id) })
	if err != nil || len(header) == 0 {
		return nil, storeError(err)
	}
	jobs, err := r.jobs.take(ctx, jobsPrefix(id), func(key string) bool { return strings.HasPrefix(key, jobsPrefix(id)) })
	if err != nil {
		return nil, storeError(err)
	}
	def, err := r.defs.take(ctx, defKey(id), func(key string) bool { return key == defKey(id) })
	if err != nil || len(def) == 0 {
		return nil, storeError(err)
	}
	return assembleRun(header[0], jobs, def[0])
}

const (
	firstPage = 16
	lastPage  = 1000
)

// cursor goes through the keys below a prefix once.
type cursor struct {
	store  store.Store
	prefix string
	// page was read up to next; of it used keys were asked for. more says that there are others behind.
	page []store.KV
	next string
	more bool
	used int
	size int
}

// take returns the keys from one on that are wanted; they are neighbours.
func (c *cursor) take(ctx context.Context, from string, wanted func(key string) bool) ([]store.KV, error) {
	var out []store.KV
	for {
		for len(c.page) > 0 && c.page[0].Key < from {
			c.page = c.page[1:]
		}
		for len(c.page) > 0 && wanted(c.page[0].Key) {
			out = append(out, c.page[0])
			c.page, c.used = c.page[1:], c.used+1
		}
		if len(c.page) > 0 || c.size > 0 && !c.more {
			return out, nil
		}
		if err := c.fill(ctx, max(from, c.next)); err != nil {
			return nil, err
		}
	}
}

// fill reads the next page: a larger one if most of the last was wanted, else a smaller one.
func (c *cursor) fill(ctx context.Context, from string) error {
	switch {
	case c.size == 0:
		c.size = firstPage
	case 2*c.used >= c.size:
		c.size = min(2*c.size, lastPage)
	default:
		c.size = max(c.size/2, 2)
	}
	var err error
	if c.page, c.more, err = c.store.Range(ctx, from, store.PrefixEnd(c.prefix), c.size); err != nil {
		return err
	}
	c.used = 0
	if n := len(c.page); n > 0 {
		c.next = c.page[n-1].Key + "\x00"
	}
	return nil
}

package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// keepAlive is sent so often, so that a client that left is noticed.
	keepAlive = 20 * time.Second
	// eventGap is the least time between two events of one kind to one client: what comes meanwhile goes with the next.
	eventGap = 100 * time.Millisecond
	// retryMS is when a browser comes again after its stream broke.
	retryMS = 3000
)

// events is one stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Safe for concurrent use.
type events struct {
	mu  sync.Mutex
	out *piecewise
}

func newEvents(w http.ResponseWriter) (*events, error) {
	out, err := newPiecewise(w)
	if err != nil {
		return nil, err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	e := &events{out: out}
	return e, e.write(fmt.Appendf(nil, "retry: %d\n\n", retryMS))
}

func (e *events) write(b []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.out.Write(b); err != nil {
		return err
	}
	return e.out.rc.Flush()
}

// send sends data as JSON, which has no line breaks. id is what the browser says when it comes again; "" leaves the one before.
func (e *events) send(name, id string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encoding an event: %w", err)
	}
	var b bytes.Buffer
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", name, body)
	return e.write(b.Bytes())
}

// errOver ends a stream whose subject has ended.
var errOver = errors.New("web: over")

// serve runs the sources of a stream until one of them returns, and says "end" if that was because all is over.
func (s *site) serve(w http.ResponseWriter, r *http.Request, v visitor, sources ...func(context.Context, *events) error) error {
	e, err := newEvents(w)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	var group sync.WaitGroup
	for _, source := range append(sources, s.alive(v, r)) {
		group.Go(func() { cancel(source(ctx, e)) })
	}
	group.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, errOver) {
		return e.out.wrap(e.send("end", "", "over"))
	} else if !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		s.Log.Info("a page's stream of events ended early", "path", r.URL.Path, "error", cause)
	}
	return nil
}

// alive keeps a stream going as long as its visitor is signed in and the coordinator runs.
func (s *site) alive(v visitor, r *http.Request) func(context.Context, *events) error {
	return func(ctx context.Context, e *events) error {
		tick := time.NewTicker(keepAlive)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.Stop:
				return errors.New("the coordinator stops")
			case <-tick.C:
				// The token may have been taken away meanwhile.
				if now, err := s.visitor(r.WithContext(ctx)); err != nil || now.Name != v.Name {
					return errors.New("the visitor is not signed in any more")
				}
				if err := e.write([]byte(": still here\n\n")); err != nil {
					return err
				}
			}
		}
	}
}

// pause waits for the next event's time.
func pause(ctx context.Context) error {
	t := time.NewTimer(eventGap)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package simulation

import (
	"cmp"
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
)

// epoch is the true time at which every simulation begins.
var epoch = time.UnixMilli(1_800_000_000_000)

// event is something that will happen.
type event struct {
	at  time.Duration
	seq uint64
	f   func()
	// gone: it was stopped.
	gone bool
	// timers that go off together; when all were stopped nothing happens.
	timers []*timer
}

type eventQueue []*event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *eventQueue) Push(x any) { *q = append(*q, x.(*event)) }

// Pop implements heap.Interface.
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

// loop owns time, randomness and order. What is below mu is also touched by goroutines of production code.
type loop struct {
	rng    *rand.Rand
	now    time.Duration
	queue  eventQueue
	seq    uint64
	events int

	mu     sync.Mutex
	parked []*parked
	timers []*timer
	failed error
}

// parked is a goroutine of production code that waits for the loop, or an act that it leaves to it.
type parked struct {
	// key orders what is parked at one time.
	key string
	// take is called by the loop, once, when nothing moves.
	take func()
}

// timer is an AfterFunc that the loop has not seen yet.
type timer struct {
	n  *node
	at time.Duration
	f  func()
	// over: it has gone off, or was stopped.
	over bool
	// maker is the place in the code that made it.
	maker string
}

func newLoop(seed uint64) *loop { return &loop{rng: rand.New(rand.NewPCG(seed, 0x5117a9))} }

// after makes f happen in d of true time.
func (l *loop) after(d time.Duration, f func()) *event {
	l.seq++
	e := &event{at: l.now + max(0, d), seq: l.seq, f: f}
	heap.Push(&l.queue, e)
	return e
}

// park leaves an act to the loop, in the order of the keys.
func (l *loop) park(key string, take func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked = append(l.parked, &parked{key: key, take: take})
}

// fail ends the simulation; for errors of the simulator itself, from any goroutine.
func (l *loop) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf(format, args...)
	}
}

// settle waits until nothing moves, and lets what is parked go on one by one. more makes further things move; false if there are none.
func (l *loop) settle(more func() bool) {
	for {
		synctest.Wait()
		if p := l.next(); p != nil {
			p.take()
			continue
		}
		l.adopt()
		if !more() {
			return
		}
	}
}

func (l *loop) next() *parked {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.parked) == 0 {
		return nil
	}
	first := 0
	for i, p := range l.parked {
		if p.key < l.parked[first].key {
			first = i
		}
	}
	for i, p := range l.parked {
		if i != first && p.key == l.parked[first].key && l.failed == nil {
			l.failed = fmt.Errorf("two acts are called %s: their order is not the seed's", p.key)
		}
	}
	p := l.parked[first]
	l.parked = slices.Delete(l.parked, first, first+1)
	return p
}

// adopt takes the timers that were made since the last time.
func (l *loop) adopt() {
	l.mu.Lock()
	timers := l.timers
	l.timers = nil
	l.mu.Unlock()
	slices.SortStableFunc(timers, func(a, b *timer) int { return a.compare(b) })
	for len(timers) > 0 {
		n := 1
		for n < len(timers) && timers[0].compare(timers[n]) == 0 {
			n++
		}
		l.after(timers[0].at-l.now, fireAll(timers[:n])).timers = timers[:n]
		timers = timers[n:]
	}
}

// compare orders timers by what they are, not by when they were made: two goroutines may have made them at one time.
func (t *timer) compare(o *timer) int {
	return cmp.Or(cmp.Compare(t.at, o.at), cmp.Compare(t.n.name, o.n.name), cmp.Compare(t.n.life, o.n.life), cmp.Compare(t.maker, o.maker))
}

// fireAll lets timers that nothing tells apart go off together: what they set in motion is put into an order where it leaves production code.
func fireAll(timers []*timer) func() {
	return func() {
		for _, t := range timers {
			t.f()
		}
	}
}

// step makes the next event happen; false if there is none.
func (l *loop) step() bool {
	for len(l.queue) > 0 {
		e := heap.Pop(&l.queue).(*event)
		if e.gone || l.allOver(e.timers) {
			continue
		}
		l.now = max(l.now, e.at)
		l.events++
		e.f()
		return true
	}
	return false
}

// allOver is whether an event was that of timers, and all of them were stopped.
func (l *loop) allOver(timers []*timer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(timers) > 0 && !slices.ContainsFunc(timers, func(t *timer) bool { return !t.over })
}

// between returns a duration in [a, b).
func (l *loop) between(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(l.rng.Int64N(int64(b-a)))
}

// chance is true with probability p.
func (l *loop) chance(p float64) bool { return p > 0 && l.rng.Float64() < p }

// node is a process, or what of it a crash takes away.
type node struct {
	l    *loop
	name string
	// offset of its wall clock; the clocks of hosts do not agree.
	offset time.Duration
	up     bool
	paused bool
	// life counts its starts: what belongs to an earlier one is dropped.
	life    int
	backlog []func()
	// dice are of this process alone, seed is where they begin.
	seed uint64
	dice *dice
}

func newNode(l *loop, name string, seed uint64) *node {
	seed ^= hashName(name)
	return &node{l: l, name: name, seed: seed, dice: &dice{rng: rand.New(rand.NewPCG(seed, 0xd1ce))}}
}

func hashName(s string) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(s) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// start begins a life.
func (n *node) start(offset time.Duration) {
	n.life++
	n.up, n.paused, n.backlog, n.offset = true, false, nil, offset
}

// kill ends it: nothing that was meant for it happens any more.
func (n *node) kill() { n.up, n.paused, n.backlog = false, false, nil }

func (n *node) pause() { n.paused = true }

func (n *node) resume() {
	n.paused = false
	todo := n.backlog
	n.backlog = nil
	for _, f := range todo {
		n.l.after(0, f)
	}
}

// mine wraps what is to happen to this life of the node: never after its end, not during a pause.
func (n *node) mine(f func()) func() {
	life := n.life
	var g func()
	g = func() {
		switch {
		case !n.up || n.life != life:
		case n.paused:
			n.backlog = append(n.backlog, g)
		default:
			f()
		}
	}
	return g
}

// after makes f happen to this life of the node.
func (n *node) after(d time.Duration, f func()) { n.l.after(d, n.mine(f)) }

// Now implements clock.Clock: true time with the node's offset.
func (n *node) Now() time.Time { return epoch.Add(n.l.now + n.offset) }

// AfterFunc implements clock.Clock.
func (n *node) AfterFunc(d time.Duration, f func()) func() bool {
	maker := ""
	if _, file, line, ok := runtime.Caller(1); ok {
		maker = fmt.Sprintf("%s:%06d", filepath.Base(file), line)
	}
	n.l.mu.Lock()
	defer n.l.mu.Unlock()
	t := &timer{n: n, at: n.l.now + max(0, d), maker: maker}
	// stop says whether it was in time.
	stop := func() bool {
		n.l.mu.Lock()
		defer n.l.mu.Unlock()
		was := t.over
		t.over = true
		return !was
	}
	t.f = n.mine(func() {
		if stop() {
			f()
		}
	})
	n.l.timers = append(n.l.timers, t)
	return stop
}

// newID is a ULID of the node's clock and dice.
func (n *node) newID() string {
	n.dice.mu.Lock()
	defer n.dice.mu.Unlock()
	id := ulid.MustNew(ulid.Timestamp(n.Now()), unlocked{n.dice.rng})
	return lower(id.String())
}

// jitter is a duration in [0, d). It follows from the time, not from who asked first: several goroutines may ask at once.
func (n *node) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rand.New(rand.NewPCG(n.seed, uint64(n.l.now))).Int64N(int64(d)))
}

// dice is a node's source of randomness, an io.Reader.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

var _ io.Reader = (*dice)(nil)

// Read implements io.Reader.
func (d *dice) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return unlocked{d.rng}.Read(p)
}

type unlocked struct{ rng *rand.Rand }

// Read implements io.Reader.
func (u unlocked) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		v := u.rng.Uint64()
		for j := i; j < min(i+8, len(p)); j++ {
			p[j], v = byte(v), v>>8
		}
	}
	return len(p), nil
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

package graph_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-ci/slipway/coordinator/web/graph"
)

// parse reads "a b:a c:a,b".
func parse(text string) []graph.Node {
	var out []graph.Node
	for _, f := range strings.Fields(text) {
		id, needs, _ := strings.Cut(f, ":")
		n := graph.Node{ID: id}
		if needs != "" {
			n.Needs = strings.Split(needs, ",")
		}
		out = append(out, n)
	}
	return out
}

func TestLayers(t *testing.T) {
	for _, c := range []struct{ jobs, layers, edges string }{
		{"", "", ""},
		{"a", "a0", ""},
		{"a b", "a0 b0", ""},
		{"a b:a c:b", "a0 b1 c2", "a>b b>c"},
		{"c:b b:a a", "c2 b1 a0", "b>c a>b"},
		{"a b:a c:a d:b,c,a", "a0 b1 c1 d2", "a>b a>c b>d c>d a>d"},
		// The key of a matrix means all of its legs, also deeper down; a name that begins alike is another.
		{"t.0 t.1 tt r:t", "t.00 t.10 tt0 r1", "t.0>r t.1>r"},
		{"call.0.x call.0.y end:call", "call.0.x0 call.0.y0 end1", "call.0.x>end call.0.y>end"},
		// What nobody is called, oneself and what is named twice.
		{"a:gone,a b:a,a", "a0 b1", "a>b"},
		// No plan has a cycle; a picture must not hang for one.
		{"a:b b:a", "a1 b0", "b>a"},
	} {
		nodes := parse(c.jobs)
		p, ok := graph.Layout(nodes)
		if !ok {
			t.Fatalf("%q: not drawn", c.jobs)
		}
		var layers, edges []string
		for i, b := range p.Boxes {
			layers = append(layers, fmt.Sprint(nodes[i].ID, b.Layer))
		}
		for _, e := range p.Edges {
			edges = append(edges, nodes[e.From].ID+">"+nodes[e.To].ID)
		}
		if got := strings.Join(layers, " "); got != c.layers {
			t.Errorf("%q: layers %q, want %q", c.jobs, got, c.layers)
		}
		if got := strings.Join(edges, " "); got != c.edges {
			t.Errorf("%q: edges %q, want %q", c.jobs, got, c.edges)
		}
		check(t, p)
	}
}

// A layer's order follows its neighbours': what belongs together lies side by side.
func TestOrderFollowsNeighbours(t *testing.T) {
	p, _ := graph.Layout(parse("a b c z:c y:b x:a"))
	if p.Boxes[5].Y >= p.Boxes[4].Y || p.Boxes[4].Y >= p.Boxes[3].Y {
		t.Errorf("x, y, z are not in the order of a, b, c: %+v", p.Boxes)
	}
}

var step = regexp.MustCompile(`[MHC][^MHC]*`)

// check holds what is true of every picture.
func check(t interface {
	Errorf(format string, args ...any)
}, p graph.Picture) {
	for i, a := range p.Boxes {
		if a.X < 0 || a.Y < 0 || a.X+a.Width > p.Width || a.Y+a.Height > p.Height {
			t.Errorf("box %d is outside of the picture", i)
		}
		for j, b := range p.Boxes[:i] {
			if a.X < b.X+b.Width && b.X < a.X+a.Width && a.Y < b.Y+b.Height && b.Y < a.Y+a.Height {
				t.Errorf("boxes %d and %d overlap", i, j)
			}
		}
	}
	for _, e := range p.Edges {
		from, to := p.Boxes[e.From], p.Boxes[e.To]
		if from.X+from.Width >= to.X {
			t.Errorf("edge %d > %d does not go forward", e.From, e.To)
		}
		x, first, y := 0, true, 0
		for _, s := range step.FindAllString(e.Path, -1) {
			n := strings.Fields(s[1:])
			last := n[len(n)-1]
			if s[0] == 'H' {
				last = n[0]
			} else {
				y, _ = strconv.Atoi(last)
				last = n[len(n)-2]
			}
			at, err := strconv.Atoi(last)
			if err != nil {
				t.Errorf("path %q: %v", e.Path, err)
			}
			if first && (at != from.X+from.Width || y != from.Y+from.Height/2) {
				t.Errorf("path %q does not begin at its box", e.Path)
			}
			if !first && at < x {
				t.Errorf("path %q goes back", e.Path)
			}
			// Where an edge runs straight it meets no box.
			if s[0] == 'H' && !first {
				for k, b := range p.Boxes {
					if k != e.From && k != e.To && y > b.Y && y < b.Y+b.Height && x < b.X+b.Width && at > b.X {
						t.Errorf("path %q runs through box %d", e.Path, k)
					}
				}
			}
			x, first = at, false
		}
		if x != to.X || y != to.Y+to.Height/2 {
			t.Errorf("path %q ends at %d,%d, not at its box", e.Path, x, y)
		}
	}
}

func TestAnyGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 60).Draw(t, "jobs")
		nodes := make([]graph.Node, n)
		for i := range nodes {
			nodes[i].ID = fmt.Sprint("j", i)
			for range rapid.IntRange(0, 4).Draw(t, "needs") {
				// Also later ones: the order of a file says nothing, and cycles are survived.
				nodes[i].Needs = append(nodes[i].Needs, fmt.Sprint("j", rapid.IntRange(0, n-1).Draw(t, "need")))
			}
		}
		p, ok := graph.Layout(nodes)
		if !ok || len(p.Boxes) != n {
			t.Fatalf("%d boxes for %d jobs", len(p.Boxes), n)
		}
		check(t, p)
		again, _ := graph.Layout(nodes)
		if fmt.Sprint(again) != fmt.Sprint(p) {
			t.Error("another picture the second time")
		}
	})
}

// TestSixtyJobs is about a release pipeline of 60 jobs: builds, a matrix of tests, checks, deploys.
func TestSixtyJobs(t *testing.T) {
	var nodes []graph.Node
	for i := range 60 {
		n := graph.Node{ID: fmt.Sprint("job-", i)}
		for k := 0; k < 3 && i >= 8; k++ {
			n.Needs = append(n.Needs, fmt.Sprint("job-", rand.New(rand.NewPCG(uint64(i), uint64(k))).IntN(i-i%8)))
		}
		nodes = append(nodes, n)
	}
	p, ok := graph.Layout(nodes)
	if !ok || len(p.Boxes) != 60 {
		t.Fatal("not drawn")
	}
	check(t, p)
}

func TestTooLarge(t *testing.T) {
	if _, ok := graph.Layout(make([]graph.Node, graph.MaxNodes+1)); ok {
		t.Error("too many nodes were drawn")
	}
	var nodes []graph.Node
	for i := range 60 {
		nodes = append(nodes, graph.Node{ID: fmt.Sprint("a.", i)})
	}
	for i := range 60 {
		nodes = append(nodes, graph.Node{ID: fmt.Sprint("b.", i), Needs: []string{"a"}})
	}
	if _, ok := graph.Layout(nodes); ok {
		t.Error("3600 edges were drawn")
	}
}

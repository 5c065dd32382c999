// Package graph lays out a run's jobs for a picture: in columns from left to right, so that every job is to the right of all that it needs.
// Pure: the same jobs in the same order give the same picture.
package graph

import (
	"fmt"
	"slices"
	"strings"
)

// Node is a job.
type Node struct {
	ID string
	// Needs are ids, or keys of a matrix: all nodes whose id is KEY or begins with "KEY.". What no node is called is left out.
	Needs []string
}

// Sizes of a picture, in the units of its view box.
const (
	BoxWidth  = 208
	BoxHeight = 46
	gapX      = 64
	gapY      = 14
	margin    = 6
	// lane is the height of an edge that passes a column between its boxes.
	lane = 10
)

// Bounds of what is drawn: more is no help for the eye.
const (
	MaxNodes = 400
	MaxEdges = 2000
)

// Box is where a node is.
type Box struct {
	Node          int // index in Layout's nodes
	Layer         int
	X, Y          int
	Width, Height int
}

// Edge leads from what is needed to who needs it.
type Edge struct {
	From, To int // indices in Layout's nodes
	// Path is the `d` of an SVG path.
	Path string
}

// Picture is a layout. Boxes are in the order of the nodes.
type Picture struct {
	Width, Height int
	Boxes         []Box
	Edges         []Edge
}

// vertex is a box, or a point where an edge passes a column.
type vertex struct {
	node  int // -1 for a point
	layer int
	y     int
	// up and down are the neighbours in the layer before and after.
	up, down []int
	weight   float64
}

func (v *vertex) height() int {
	if v.node < 0 {
		return lane
	}
	return BoxHeight
}

type layout struct {
	nodes    []Node
	layer    []int
	vertices []vertex
	layers   [][]int
	// routes are the vertices of each edge.
	routes [][]int
}

// Layout draws nodes. ok is false if there are more than MaxNodes or MaxEdges. A need that would close a cycle is left out.
func Layout(nodes []Node) (p Picture, ok bool) {
	if len(nodes) > MaxNodes {
		return Picture{}, false
	}
	needs, edges := resolve(nodes)
	if edges > MaxEdges {
		return Picture{}, false
	}
	l := &layout{nodes: nodes}
	needs = l.assignLayers(needs)
	l.connect(needs)
	l.sortLayers()
	l.place()
	return l.picture(), true
}

// resolve turns the names in Needs into indices.
func resolve(nodes []Node) (needs [][]int, edges int) {
	byName := map[string][]int{}
	for i, n := range nodes {
		byName[n.ID] = append(byName[n.ID], i)
		for at := strings.IndexByte(n.ID, '.'); at > 0; {
			byName[n.ID[:at]] = append(byName[n.ID[:at]], i)
			next := strings.IndexByte(n.ID[at+1:], '.')
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	needs = make([][]int, len(nodes))
	for i, n := range nodes {
		for _, name := range n.Needs {
			for _, j := range byName[name] {
				if j != i && !slices.Contains(needs[i], j) {
					needs[i] = append(needs[i], j)
					edges++
				}
			}
		}
	}
	return needs, edges
}

// assignLayers puts each node one layer after the last one that it needs, and returns the needs without those that close a cycle.
func (l *layout) assignLayers(needs [][]int) [][]int {
	const unseen, open, done = 0, 1, 2
	state := make([]int, len(l.nodes))
	l.layer = make([]int, len(l.nodes))
	var visit func(i int)
	visit = func(i int) {
		state[i] = open
		kept := needs[i][:0]
		for _, j := range needs[i] {
			if state[j] == open {
				continue
			}
			if state[j] == unseen {
				visit(j)
			}
			kept = append(kept, j)
			l.layer[i] = max(l.layer[i], l.layer[j]+1)
		}
		needs[i] = kept
		state[i] = done
	}
	for i := range l.nodes {
		if state[i] == unseen {
			visit(i)
		}
	}
	return needs
}

// connect makes the vertices: one for each node, and one for each layer that an edge passes.
func (l *layout) connect(needs [][]int) {
	for i := range l.nodes {
		l.add(vertex{node: i, layer: l.layer[i]})
	}
	for to, from := range needs {
		for _, f := range from {
			route := []int{f}
			for layer := l.layer[f] + 1; layer < l.layer[to]; layer++ {
				route = append(route, l.add(vertex{node: -1, layer: layer}))
			}
			route = append(route, to)
			for k := 1; k < len(route); k++ {
				a, b := route[k-1], route[k]
				l.vertices[a].down = append(l.vertices[a].down, b)
				l.vertices[b].up = append(l.vertices[b].up, a)
			}
			l.routes = append(l.routes, route)
		}
	}
}

func (l *layout) add(v vertex) int {
	id := len(l.vertices)
	l.vertices = append(l.vertices, v)
	for len(l.layers) <= v.layer {
		l.layers = append(l.layers, nil)
	}
	l.layers[v.layer] = append(l.layers[v.layer], id)
	return id
}

// sweeps over the layers, forth and back; more hardly untangle more.
const sweeps = 4

// sortLayers orders each layer by where its neighbours are, so that edges cross less.
func (l *layout) sortLayers() {
	place := make([]float64, len(l.vertices))
	number := func(layer []int) {
		for i, v := range layer {
			place[v] = float64(i) - float64(len(layer)-1)/2
		}
	}
	for _, layer := range l.layers {
		number(layer)
	}
	order := func(layer []int, neighbours func(*vertex) []int) {
		for _, v := range layer {
			near := neighbours(&l.vertices[v])
			l.vertices[v].weight = place[v]
			if len(near) == 0 {
				continue
			}
			sum := 0.0
			for _, n := range near {
				sum += place[n]
			}
			l.vertices[v].weight = sum / float64(len(near))
		}
		slices.SortStableFunc(layer, func(a, b int) int {
			switch wa, wb := l.vertices[a].weight, l.vertices[b].weight; {
			case wa < wb:
				return -1
			case wa > wb:
				return 1
			}
			return 0
		})
		number(layer)
	}
	for range sweeps {
		for i := 1; i < len(l.layers); i++ {
			order(l.layers[i], func(v *vertex) []int { return v.up })
		}
		for i := len(l.layers) - 2; i >= 0; i-- {
			order(l.layers[i], func(v *vertex) []int { return v.down })
		}
	}
}

// place gives every vertex its height: layers are stacked from the top, the lower ones centred on the highest.
func (l *layout) place() {
	heights := make([]int, len(l.layers))
	most := 0
	for i, layer := range l.layers {
		for k, v := range layer {
			if k > 0 {
				heights[i] += gapY
			}
			heights[i] += l.vertices[v].height()
		}
		most = max(most, heights[i])
	}
	for i, layer := range l.layers {
		y := margin + (most-heights[i])/2
		for _, v := range layer {
			l.vertices[v].y = y
			y += l.vertices[v].height() + gapY
		}
	}
}

func left(layer int) int { return margin + layer*(BoxWidth+gapX) }

func (l *layout) middle(v int) int { return l.vertices[v].y + l.vertices[v].height()/2 }

func (l *layout) picture() Picture {
	p := Picture{Width: 2 * margin, Height: 2 * margin, Boxes: make([]Box, len(l.nodes))}
	for i := range l.nodes {
		v := l.vertices[i]
		b := Box{Node: i, Layer: v.layer, X: left(v.layer), Y: v.y, Width: BoxWidth, Height: BoxHeight}
		p.Boxes[i] = b
		p.Width = max(p.Width, b.X+b.Width+margin)
	}
	for _, v := range l.vertices {
		p.Height = max(p.Height, v.y+v.height()+margin)
	}
	for _, r := range l.routes {
		p.Edges = append(p.Edges, Edge{From: r[0], To: r[len(r)-1], Path: l.path(r)})
	}
	return p
}

// path is a curve through the gaps between columns, and straight across them.
func (l *layout) path(route []int) string {
	var b strings.Builder
	x, y := left(l.vertices[route[0]].layer)+BoxWidth, l.middle(route[0])
	fmt.Fprintf(&b, "M%d %d", x, y)
	for _, v := range route[1:] {
		nx, ny := left(l.vertices[v].layer), l.middle(v)
		half := (nx - x) / 2
		if ny == y {
			fmt.Fprintf(&b, "H%d", nx)
		} else {
			fmt.Fprintf(&b, "C%d %d %d %d %d %d", x+half, y, nx-half, ny, nx, ny)
		}
		x, y = nx, ny
		if l.vertices[v].node < 0 {
			x = nx + BoxWidth
			fmt.Fprintf(&b, "H%d", x)
		}
	}
	return b.String()
}

package logs

// stars stands for every masked run of bytes, however long.
var stars = []byte("***")

// Masker replaces secrets in a stream. A byte is masked if any occurrence of any mask covers it; each maximal run of
// masked bytes becomes `***`. So what comes out depends only on what went in, never on how it was cut into chunks: a
// restarted agent makes the same bytes again.
type Masker struct {
	masks *Masks
	// at is where the bytes so far lead in the masks.
	at int32
	// held are the bytes that may still become part of a match.
	held []byte
	// spans of held that are masked: in order, none touching another. The first may begin before held.
	spans []span
	// inRun: the last byte put out was masked.
	inRun bool
	// changed: something was masked already.
	changed bool
}

// span is [from, to) of held.
type span struct{ from, to int }

// Add makes a mask apply to what is written from now on. What was held back is decided first, so its result goes to out.
// The set must be the Masker's own.
func (m *Masker) Add(out []byte, value string) []byte {
	out = m.Flush(out)
	m.masks.add(value)
	return out
}

// Write appends to out what p lets be decided, and returns it. Only what may become a match is held back, so that a live
// log does not lag.
func (m *Masker) Write(out, p []byte) []byte {
	if m.masks.empty() {
		return append(out, p...)
	}
	m.masks.link()
	for len(p) > 0 {
		if m.at == 0 && len(m.held) == 0 {
			n := m.masks.skip(p)
			out = m.plain(out, p[:n])
			if p = p[n:]; len(p) == 0 {
				break
			}
		}
		n := m.follow(p)
		m.held = append(m.held, p[:n]...)
		p = p[n:]
		out = m.decide(out, len(m.held)-int(m.masks.nodes[m.at].hold))
	}
	return out
}

// follow reads bytes until no match is under way, and says how many.
func (m *Masker) follow(p []byte) int {
	for i, b := range p {
		m.at = m.masks.next(m.at, b)
		if m.at == 0 {
			return i + 1
		}
		if l := int(m.masks.nodes[m.at].longest); l > 0 {
			end := len(m.held) + i + 1
			m.cover(span{end - l, end})
		}
	}
	return len(p)
}

// cover adds a span that ends behind all others.
func (m *Masker) cover(s span) {
	for n := len(m.spans); n > 0 && m.spans[n-1].to >= s.from; n-- {
		s.from = min(s.from, m.spans[n-1].from)
		m.spans = m.spans[:n-1]
	}
	m.spans = append(m.spans, s)
}

// Flush decides all that is held, as at the end of the stream.
func (m *Masker) Flush(out []byte) []byte {
	out = m.decide(out, len(m.held))
	m.inRun, m.at = false, 0
	return out
}

func (m *Masker) plain(out, p []byte) []byte {
	if len(p) > 0 {
		m.inRun = false
	}
	return append(out, p...)
}

// decide puts out the first n held bytes; matches that start before n are all complete by then.
func (m *Masker) decide(out []byte, n int) []byte {
	pos, past := 0, 0
	for _, s := range m.spans {
		if s.from >= n {
			break
		}
		out = m.plain(out, m.held[pos:max(pos, s.from)])
		if !m.inRun {
			out = append(out, stars...)
			m.inRun, m.changed = true, true
		}
		if pos = min(s.to, n); s.to > n {
			break
		}
		past++
	}
	out = m.plain(out, m.held[pos:n])
	m.held = append(m.held[:0], m.held[n:]...)
	m.spans = append(m.spans[:0], m.spans[past:]...)
	for i := range m.spans {
		m.spans[i].from -= n
		m.spans[i].to -= n
	}
	return out
}

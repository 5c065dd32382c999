package logs

// InMemory returns how many attempts the store holds in memory.
func (s *Store) InMemory() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.attempts)
}

// Keep sets how many attempts may be in memory.
func (s *Store) Keep(n int) { s.keep = n }

// Followed returns how many runs are followed.
func (s *Store) Followed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.topics)
}

// Lines returns how many lines the file of registrations has.
func (s *Store) Lines() int {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.lines
}

package secrets

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// Limits, GitHub's where it has one.
const (
	// MaxValue of a secret or variable, in bytes.
	MaxValue = 48 << 10
	// maxSecrets and maxVariables of a scope.
	maxProjectSecrets, maxOrganisationSecrets = 100, 1000
	maxVariables                              = 500
	// maxScopeVariables bounds the variables of a scope together, in bytes: every run carries them.
	maxScopeVariables = 128 << 10
	maxName           = 128
)

// Change says who changes what.
type Change struct {
	// RequestID of the call: a repeat returns the first result.
	RequestID string
	// Scope is Organisation, or a project.
	Scope string
	Name  string
	By    string
}

// Entry is a secret or a variable, as people may see it.
type Entry struct {
	Name, Scope string
	Version     uint32
	UpdatedMS   int64
	UpdatedBy   string
	// Value of a variable; "" of a secret.
	Value string
}

func checkName(name string) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a name has 1 to %d bytes", maxName)
	case strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	}):
		return fmt.Errorf("%.64q: a name has letters, digits and _ only", name)
	case name[0] >= '0' && name[0] <= '9':
		return fmt.Errorf("%.64q: a name can't begin with a digit", name)
	case strings.HasPrefix(strings.ToUpper(name), "GITHUB_"):
		return fmt.Errorf("%.64q: names that begin with GITHUB_ are reserved", name)
	}
	return nil
}

func (k Kind) one() string { return strings.TrimSuffix(string(k), "s") }

// Set keeps a new value. Errors are INVALID_REQUEST, and POLICY_REFUSED for a secret without a key.
func (s *Store) Set(k Kind, c Change, value string) (Entry, error) {
	if err := checkValue(k, value); err != nil {
		return Entry{}, err
	}
	var out Entry
	err := s.change(k, c, func(dir string, r *record, v *version) error {
		if err := s.admit(k, c.Scope, dir, r, value); err != nil {
			return err
		}
		if k == Variables {
			v.Value = value
			return nil
		}
		var err error
		v.Sealed, err = s.sealValue(contents{Scope: c.Scope, Name: r.Name, Revision: v.Revision, Value: value})
		if errors.Is(err, ErrNoKey) {
			return rpcerr.New(rpcerr.PolicyRefused, "%v", err)
		}
		return err
	}, func(r *record, v *version) { out = entryOf(c.Scope, r.Name, v) })
	return out, err
}

func checkValue(k Kind, value string) error {
	switch {
	case value == "" && k == Secrets:
		return rpcerr.New(rpcerr.InvalidRequest, "the value is empty; a secret that is not set is empty too: remove it instead")
	case len(value) > MaxValue:
		return rpcerr.New(rpcerr.InvalidRequest, "the value has %d bytes; at most %d (48 KB) are allowed", len(value), MaxValue)
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return rpcerr.New(rpcerr.InvalidRequest, "the value is no text: encode it, with base64 for example")
	}
	return nil
}

// admit holds the bounds of a scope.
func (s *Store) admit(k Kind, scope, dir string, r *record, value string) error {
	all, err := readAll(dir)
	if err != nil {
		return err
	}
	count, size := 1, len(r.Name)+len(value)
	for _, other := range all {
		if other.live() && other.Name != r.Name {
			count++
			size += len(other.Name) + len(other.last().Value)
		}
	}
	most := maxVariables
	switch {
	case k == Secrets && scope == Organisation:
		most = maxOrganisationSecrets
	case k == Secrets:
		most = maxProjectSecrets
	case size > maxScopeVariables:
		return rpcerr.New(rpcerr.InvalidRequest, "the variables would have %d bytes together; at most %d are allowed, because every run carries them", size, maxScopeVariables)
	}
	if count > most {
		return rpcerr.New(rpcerr.InvalidRequest, "there would be %d %s; at most %d are allowed", count, k, most)
	}
	return nil
}

// Remove makes a name have no value. NOT_FOUND if it has none.
func (s *Store) Remove(k Kind, c Change) error {
	return s.change(k, c, func(_ string, r *record, v *version) error {
		if !r.live() {
			return rpcerr.New(rpcerr.NotFound, "there is no %s %s%s", k.one(), r.Name, where(c.Scope))
		}
		v.Removed = true
		return nil
	}, func(*record, *version) {})
}

func where(scope string) string {
	if scope == Organisation {
		return " of the organisation"
	}
	return " in project " + scope
}

// change adds a version to a name, which fill completes; done is told of it, or of the one that the same request added before.
func (s *Store) change(k Kind, c Change, fill func(dir string, r *record, v *version) error, done func(*record, *version)) error {
	if err := checkName(c.Name); err != nil {
		return rpcerr.New(rpcerr.InvalidRequest, "%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if now.Sub(s.dropped) >= dropEvery {
		s.drop()
	}
	dir := s.scopeDir(k, c.Scope)
	r, err := read(dir, strings.ToUpper(c.Name))
	if err != nil {
		return err
	}
	for i := range r.Versions {
		if v := &r.Versions[i]; v.RequestID == c.RequestID {
			done(r, v)
			return nil
		}
	}
	v := version{Number: 1, Revision: s.revision + 1, TimeMS: now.UnixMilli(), By: c.By, RequestID: c.RequestID}
	if last := r.last(); last != nil {
		v.Number = last.Number + 1
	}
	if err := fill(dir, r, &v); err != nil {
		return err
	}
	r.Versions = append(r.Versions, v)
	r.drop(now.UnixMilli())
	// Also if writing fails: it may have been written all the same.
	s.revision = v.Revision
	if err := s.write(dir, r); err != nil {
		return err
	}
	done(r, &v)
	return nil
}

func entryOf(scope, name string, v *version) Entry {
	return Entry{Name: name, Scope: scope, Version: v.Number, UpdatedMS: v.TimeMS, UpdatedBy: v.By, Value: v.Value}
}

// List returns what a project sees: the organisation's entries, then its own, each by name.
func (s *Store) List(k Kind, project string) ([]Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []Entry
	for _, scope := range []string{Organisation, project} {
		all, err := readAll(s.scopeDir(k, scope))
		if err != nil {
			return nil, err
		}
		slices.SortFunc(all, func(a, b *record) int { return cmp.Compare(a.Name, b.Name) })
		for _, r := range all {
			if r.live() {
				out = append(out, entryOf(scope, r.Name, r.last()))
			}
		}
	}
	return out, nil
}

// Variables returns the values that a project's runs see, by name.
func (s *Store) Variables(project string) (map[string]string, error) {
	all, err := s.List(Variables, project)
	out := make(map[string]string, len(all))
	for _, e := range all {
		out[e.Name] = e.Value // the project's come last
	}
	return out, err
}

// Now is the revision of what Values of 0 would answer at this moment.
func (s *Store) Now() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// Values returns a project's secrets as of a revision, by name: those that are wanted, without those that had no value. ErrGone if what
// one was is not kept any more.
func (s *Store) Values(project string, revision uint64, want func(name string) bool) (map[string]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := map[string]string{}
	for _, scope := range []string{Organisation, project} {
		all, err := readAll(s.scopeDir(Secrets, scope))
		if err != nil {
			return nil, err
		}
		for _, r := range all {
			if !want(r.Name) {
				continue
			}
			v, gone := r.at(revision)
			switch {
			case gone:
				return nil, fmt.Errorf("secret %s: %w", r.Name, ErrGone)
			case v == nil:
				continue
			}
			if out[r.Name], err = s.openValue(scope, r.Name, v); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

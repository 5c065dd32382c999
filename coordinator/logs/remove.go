package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Runs are the ids of the runs that have logs.
func (s *Store) Runs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.root, "runs"))
	if err != nil {
		return nil, fmt.Errorf("listing the runs that have logs: %w", err)
	}
	out := make([]string, 0, len(entries))
	for _, e := range entries {
		if checkName(e.Name()) == nil {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Sizes of a run's logs in bytes, by attempt and step.
func (s *Store) Sizes(run string) (map[string]map[uint32]int64, error) {
	infos, err := s.List(run)
	if err != nil {
		return nil, err
	}
	out := map[string]map[uint32]int64{}
	for _, i := range infos {
		if out[i.Attempt] == nil {
			out[i.Attempt] = map[uint32]int64{}
		}
		out[i.Attempt][i.Step] = i.Size
	}
	return out, nil
}

// Remove removes the logs of a run, except those of attempts that somebody writes or reads at this moment: they go with the next Remove.
func (s *Store) Remove(run string) error {
	if err := checkName(run); err != nil {
		return err
	}
	runDir := filepath.Join(s.root, "runs", run)
	entries, err := os.ReadDir(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the logs of run %s: %w", run, err)
	}
	left := false
	for _, e := range entries {
		removed, err := s.removeAttempt(e.Name())
		if err == nil && removed {
			err = os.Remove(filepath.Join(runDir, e.Name()))
		}
		if err != nil {
			return fmt.Errorf("removing the logs of run %s: %w", run, err)
		}
		left = left || !removed
	}
	if left {
		return nil
	}
	if err := os.Remove(runDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the logs of run %s: %w", run, err)
	}
	return nil
}

// removeAttempt holds the store, so that nobody begins to use the attempt meanwhile.
func (s *Store) removeAttempt(id string) (bool, error) {
	if checkName(id) != nil {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.attempts[id]; a != nil && a.pins > 0 {
		return false, nil
	}
	if err := os.RemoveAll(filepath.Join(s.root, "attempts", id)); err != nil {
		return false, err
	}
	delete(s.attempts, id)
	return true, nil
}

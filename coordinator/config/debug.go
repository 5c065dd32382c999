package config

import "time"

// Debug says how the pods of failed jobs may be held for people to look into.
type Debug struct {
	// MaxHold is the longest that a pod may be held, also while somebody is in it; 0s holds none.
	MaxHold Duration `yaml:"max_hold"`
}

// MostMaxHold is the longest that Debug.MaxHold may be: a held pod takes the place of a job.
const MostMaxHold = 7 * 24 * time.Hour

func (c Config) checkDebug(add func(key []string, hint, format string, args ...any)) {
	if d := c.Debug.MaxHold.Std(); d < 0 || d > MostMaxHold {
		add([]string{"debug", "max_hold"}, "0s holds none", "%v is not from 0s to %v", d, MostMaxHold)
	}
}

package config

import "time"

// Retention says when finished runs are sealed, and how long they are kept.
type Retention struct {
	// SealAfter is how long after its end a run leaves the store.
	SealAfter Duration `yaml:"seal_after"`
	// LogPatience is how long after its end a run waits for logs of it that are on their way.
	LogPatience Duration `yaml:"log_patience"`
	// Keep is the policy of projects that have none of their own.
	Days  int64 `yaml:"days"`
	Runs  int64 `yaml:"runs"`
	Bytes int64 `yaml:"bytes"`
	// DiskQuota in bytes of all blobs; past it finished runs of all projects expire, the oldest first. 0 is none.
	DiskQuota int64 `yaml:"disk_quota"`
	// Every is the time between two looks for what has expired.
	Every Duration `yaml:"every"`
	// BlobGrace is how long a blob that nothing refers to is left alone.
	BlobGrace Duration `yaml:"blob_grace"`
}

// Keep is a project's own policy; 0 is as in Retention, -1 keeps all.
type Keep struct {
	Days  int64 `yaml:"days"`
	Runs  int64 `yaml:"runs"`
	Bytes int64 `yaml:"bytes"`
}

// KeepOf is the policy of a project; 0 keeps all.
func (c Config) KeepOf(project string) Keep {
	own := c.Projects[project].Retention
	pick := func(own, all int64) int64 {
		switch {
		case own > 0:
			return own
		case own < 0:
			return 0
		}
		return all
	}
	return Keep{Days: pick(own.Days, c.Retention.Days), Runs: pick(own.Runs, c.Retention.Runs), Bytes: pick(own.Bytes, c.Retention.Bytes)}
}

func defaultRetention() Retention {
	return Retention{SealAfter: Duration(time.Minute), LogPatience: Duration(24 * time.Hour), Every: Duration(10 * time.Minute), BlobGrace: Duration(time.Hour)}
}

// most days that anything is kept: a hundred years, so that no sum overflows.
const mostDays = 36_500

func (c Config) checkRetention(add func(key []string, hint, format string, args ...any)) {
	r := c.Retention
	for key, d := range map[string]Duration{"seal_after": r.SealAfter, "log_patience": r.LogPatience, "every": r.Every, "blob_grace": r.BlobGrace} {
		if d.Std() < time.Millisecond || d.Std() > 365*24*time.Hour {
			add([]string{"retention", key}, "", "%v is not from 1ms to 8760h", d.Std())
		}
	}
	for key, n := range map[string]int64{"days": r.Days, "runs": r.Runs, "bytes": r.Bytes, "disk_quota": r.DiskQuota} {
		if n < 0 || key == "days" && n > mostDays {
			add([]string{"retention", key}, "0 keeps all", "%d is out of range", n)
		}
	}
	for name, p := range c.Projects {
		for key, n := range map[string]int64{"days": p.Retention.Days, "runs": p.Retention.Runs, "bytes": p.Retention.Bytes} {
			if n < -1 || key == "days" && n > mostDays {
				add([]string{"projects", name, "retention", key}, "0 is as in `retention`, -1 keeps all", "%d is out of range", n)
			}
		}
	}
}

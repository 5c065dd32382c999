package engine

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ci/slipway/coordinator/schedule"
)

// maxDemand bounds the series of a metric: workflows make up labels.
const maxDemand = 200

// demandMetrics say what queued jobs ask for. They are set every Tick, not by every change of the queue.
type demandMetrics struct{ jobs, cpus, memory, wait *prometheus.GaugeVec }

func newDemandMetrics() demandMetrics {
	by := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"pools", "labels"})
	}
	return demandMetrics{
		jobs:   by("slipway_demand_slots", "Slots that queued jobs ask for, one each, by pools and labels."),
		cpus:   by("slipway_demand_cpus", "CPUs that queued jobs reserve, by pools and labels."),
		memory: by("slipway_demand_memory_bytes", "Memory that queued jobs reserve, by pools and labels."),
		wait:   by("slipway_demand_oldest_wait_seconds", "How long the oldest queued job has waited, by pools and labels."),
	}
}

func (m demandMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.jobs, m.cpus, m.memory, m.wait}
}

// set replaces what was said before. now is Unix milliseconds by the leader's clock.
func (m demandMetrics) set(all []schedule.Demand, now int64) {
	for _, g := range []*prometheus.GaugeVec{m.jobs, m.cpus, m.memory, m.wait} {
		g.Reset()
	}
	for _, d := range all[:min(len(all), maxDemand)] {
		pools, labels := strings.Join(d.Pools, ","), strings.Join(d.Labels, ",")
		m.jobs.WithLabelValues(pools, labels).Set(float64(d.Jobs))
		m.cpus.WithLabelValues(pools, labels).Set(float64(d.CPUMilli) / 1000)
		m.memory.WithLabelValues(pools, labels).Set(float64(d.Memory))
		m.wait.WithLabelValues(pools, labels).Set(float64(max(0, now-d.OldestMs)) / 1000)
	}
}

package main

import (
	"k8s.io/utils/clock"

	"github.com/cairn-backup/cairn/internal/kube/hookexec"
)

// hooks returns the hooks of one controller. Only this controller learns when they end.
func (s *shared) hooks() *hookexec.Hooks {
	return &hookexec.Hooks{Runner: hookexec.NewRunner(clock.RealClock{}), Executor: &hookexec.Executor{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), Config: s.mgr.GetConfig(), Egress: s.egress,
	}}
}

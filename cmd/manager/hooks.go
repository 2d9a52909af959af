package main

import (
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
)

// hooks returns the hooks of one controller. Only this controller learns when they end.
func (s *shared) hooks() *hookexec.Hooks {
	return &hookexec.Hooks{Runner: hookexec.NewRunner(), Executor: &hookexec.Executor{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), Config: s.mgr.GetConfig(),
	}}
}

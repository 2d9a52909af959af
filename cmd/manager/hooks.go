package main

import "github.com/cairn-backup/cairn/internal/hook/execute"

// hooks returns the hooks of one controller. Only this controller learns when they end.
func (s *shared) hooks() *execute.Hooks {
	return &execute.Hooks{Runner: execute.NewRunner(), Executor: &execute.Executor{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), Config: s.mgr.GetConfig(),
	}}
}

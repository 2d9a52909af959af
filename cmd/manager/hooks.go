package main

import "github.com/cairn-backup/cairn/internal/hook/execute"

// hooks are those of one controller, which tells their ends to nobody else.
func (s *shared) hooks() *execute.Hooks {
	return &execute.Hooks{Runner: execute.NewRunner(), Executor: &execute.Executor{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), Config: s.mgr.GetConfig(),
	}}
}

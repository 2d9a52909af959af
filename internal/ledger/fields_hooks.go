package ledger

import "github.com/cairn-backup/cairn/api/v1alpha1"

// keptHooks keeps how hooks ended. The output of a command must not be published.
func keptHooks(in *v1alpha1.HookStatuses) *v1alpha1.HookStatuses {
	if in == nil {
		return nil
	}
	return &v1alpha1.HookStatuses{PreHooks: keptHookStatus(in.PreHooks), PostHooks: keptHookStatus(in.PostHooks)}
}

func keptHookStatus(in []v1alpha1.HookStatus) []v1alpha1.HookStatus {
	var out []v1alpha1.HookStatus
	for _, h := range in {
		out = append(out, v1alpha1.HookStatus{
			Name: h.Name, Phase: h.Phase, Attempts: h.Attempts, StartTime: h.StartTime,
			CompletionTime: h.CompletionTime,
			Reason:         h.Reason, Message: h.Message,
		})
	}
	return out
}

// keptRestoreHooks keeps names and limits. The values of parameters and variables are the user's.
func keptRestoreHooks(in *v1alpha1.RestoreHooks) *v1alpha1.RestoreHooks {
	if in == nil {
		return nil
	}
	return &v1alpha1.RestoreHooks{PreRestore: keptHookInfos(in.PreRestore), PostRestore: keptHookInfos(in.PostRestore)}
}

func keptHookInfos(in []v1alpha1.HookInfo) []v1alpha1.HookInfo {
	var out []v1alpha1.HookInfo
	for _, h := range in {
		out = append(out, v1alpha1.HookInfo{
			Name: h.Name, HookTemplate: h.HookTemplate, MaxRetry: h.MaxRetry, Timeout: h.Timeout,
			ExecutionPolicy: h.ExecutionPolicy,
		})
	}
	return out
}

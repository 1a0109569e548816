package claim

// Reasons of events and conditions.
const (
	ReasonNotValid = "ErrClaimNotValid"
)

// Error says why a DataVolume has no claim yet. It is the user's (or the administrator's) to mend, so trying again without
// a change of DataVolume, class, profile, CDIConfig or volumes is of no use.
type Error struct {
	Reason  string // of the event: ReasonNotValid
	Message string // in the words that users of the containerized-data-importer know, where it has them
	Hint    string // the next step
}

func (e *Error) Error() string { return e.Message }

func notValid(message, hint string) error {
	return &Error{Reason: ReasonNotValid, Message: message, Hint: hint}
}

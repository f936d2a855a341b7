CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE meetings (
	sid TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	min_fresh INTEGER NOT NULL, 
	max_fresh INTEGER NOT NULL, 
	cover_seconds INTEGER NOT NULL, 
	claim_ttl_seconds INTEGER NOT NULL, 
	max_fresh_age_seconds INTEGER NOT NULL, 
	after_booking TEXT NOT NULL, 
	on_empty TEXT NOT NULL, 
	fallback_url TEXT, 
	paused BOOLEAN NOT NULL, 
	pause_reason TEXT NOT NULL, 
	seal_token TEXT, target_mode TEXT DEFAULT 'fixed' NOT NULL, match_email BOOLEAN DEFAULT 1 NOT NULL, closed_reason TEXT DEFAULT '' NOT NULL, reserve INTEGER DEFAULT '0' NOT NULL, shards INTEGER DEFAULT '1' NOT NULL, 
	CONSTRAINT pk_meetings PRIMARY KEY (sid)
);
CREATE TABLE links (
	slug TEXT NOT NULL, 
	url TEXT NOT NULL, 
	meeting_sid TEXT NOT NULL, 
	state TEXT NOT NULL, 
	source TEXT NOT NULL, 
	epoch TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	customer_id TEXT, 
	email TEXT, 
	metadata JSON, 
	claimed_at BIGINT, 
	lapses_at BIGINT, 
	consumed_at BIGINT, 
	cancelled_at BIGINT, 
	booking_sid TEXT, 
	"match" TEXT, 
	email_key TEXT, 
	withdrawn_at BIGINT, 
	forgotten_at BIGINT, withdrawn_reason TEXT, 
	CONSTRAINT pk_links PRIMARY KEY (slug)
);
CREATE INDEX ix_links_meeting_sid_customer_id ON links (meeting_sid, customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX ix_links_meeting_sid_claimed_at_slug ON links (meeting_sid, claimed_at, slug) WHERE customer_id IS NOT NULL AND state IN ('claimed', 'consumed', 'cancelled');
CREATE INDEX ix_links_lapses_at ON links (lapses_at) WHERE state = 'claimed';
CREATE INDEX ix_links_email_key ON links (email_key) WHERE email_key IS NOT NULL;
CREATE INDEX ix_links_booking_sid ON links (booking_sid) WHERE booking_sid IS NOT NULL;
CREATE TABLE inbox (
	id TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	source TEXT NOT NULL, 
	event TEXT NOT NULL, 
	booking_sid TEXT, 
	meeting_sid TEXT, 
	body BLOB NOT NULL, 
	received_at BIGINT NOT NULL, 
	state TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	slug TEXT, 
	"match" TEXT, 
	attempts INTEGER NOT NULL, 
	last_error TEXT, 
	not_before BIGINT, 
	seen INTEGER NOT NULL, 
	settled_at BIGINT, marks BLOB, parent_sid TEXT, 
	CONSTRAINT pk_inbox PRIMARY KEY (id)
);
CREATE INDEX ix_inbox_state_received_at ON inbox (state, received_at);
CREATE INDEX ix_inbox_received_at ON inbox (received_at);
CREATE INDEX ix_inbox_slug ON inbox (slug) WHERE slug IS NOT NULL;
CREATE TABLE api_keys (
	id TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	scopes JSON NOT NULL, 
	meetings JSON, 
	label TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	revoked_at BIGINT, expires_at BIGINT, last_used_at BIGINT, networks JSON, 
	CONSTRAINT pk_api_keys PRIMARY KEY (id), 
	CONSTRAINT uq_api_keys_digest UNIQUE (digest)
);
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	actor TEXT NOT NULL, 
	action TEXT NOT NULL, 
	meeting_sid TEXT, 
	reason TEXT NOT NULL, 
	detail JSON NOT NULL, "before" JSON, 
	CONSTRAINT pk_audit PRIMARY KEY (id)
);
CREATE INDEX ix_audit_meeting_sid_id ON audit (meeting_sid, id);
CREATE TABLE facts (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY (name)
);
CREATE TABLE forgotten (
	slug TEXT NOT NULL, 
	meeting_sid TEXT NOT NULL, 
	customer_name TEXT NOT NULL, 
	forgotten_at BIGINT NOT NULL, stage TEXT, 
	CONSTRAINT pk_forgotten PRIMARY KEY (slug)
);
CREATE INDEX ix_forgotten_meeting_sid_slug ON forgotten (meeting_sid, slug);
CREATE TABLE erased_marks (
	slug TEXT NOT NULL, 
	mark TEXT NOT NULL, 
	erased_at BIGINT NOT NULL, 
	CONSTRAINT pk_erased_marks PRIMARY KEY (slug, mark)
);
CREATE INDEX ix_erased_marks_mark ON erased_marks (mark);
CREATE INDEX ix_forgotten_stage ON forgotten (stage) WHERE stage IS NOT NULL;
CREATE INDEX ix_forgotten_meeting_sid_customer_name ON forgotten (meeting_sid, customer_name);
CREATE INDEX ix_inbox_id ON inbox (id) WHERE marks IS NULL;
CREATE INDEX ix_inbox_state_received_at_id ON inbox (state, received_at, id) WHERE length(body) > 0;
CREATE TABLE bookings (
	workspace TEXT NOT NULL, 
	sid TEXT NOT NULL, 
	slug TEXT NOT NULL, 
	state TEXT NOT NULL, 
	starts_at BIGINT, 
	ends_at BIGINT, 
	time_zone TEXT, 
	parent_sid TEXT, 
	manage_url TEXT, 
	made_at BIGINT, 
	changed_at BIGINT, 
	heard_at BIGINT NOT NULL, 
	stood BOOLEAN NOT NULL, 
	stood_at BIGINT, 
	email_key TEXT, 
	"match" TEXT, provider_id TEXT, 
	CONSTRAINT pk_bookings PRIMARY KEY (workspace, sid)
);
CREATE INDEX ix_bookings_slug ON bookings (slug);
CREATE TABLE ended_sessions (
	name TEXT NOT NULL, 
	ended_at BIGINT NOT NULL, 
	forget_at BIGINT NOT NULL, 
	CONSTRAINT pk_ended_sessions PRIMARY KEY (name)
);
CREATE INDEX ix_bookings_workspace_provider_id ON bookings (workspace, provider_id) WHERE provider_id IS NOT NULL;
CREATE TABLE token_secrets (
	id TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	revoked_at BIGINT, 
	CONSTRAINT pk_token_secrets PRIMARY KEY (id)
);
CREATE TABLE public_keys (
	id TEXT NOT NULL, 
	meeting_sid TEXT NOT NULL, 
	origins JSON NOT NULL, 
	label TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	revoked_at BIGINT, 
	CONSTRAINT pk_public_keys PRIMARY KEY (id)
);
CREATE TABLE incidents (
	id INTEGER NOT NULL, 
	what TEXT NOT NULL, 
	about TEXT NOT NULL, 
	began_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	text TEXT NOT NULL, 
	sids JSON, 
	links_lost INTEGER NOT NULL, 
	turned_away BIGINT NOT NULL, 
	baseline BIGINT, 
	CONSTRAINT pk_incidents PRIMARY KEY (id)
);
CREATE INDEX ix_incidents_began_at ON incidents (began_at);
CREATE UNIQUE INDEX ix_incidents_what_about ON incidents (what, about) WHERE ended_at IS NULL;
CREATE TABLE hours (
	meeting_sid TEXT NOT NULL, 
	began_at BIGINT NOT NULL, 
	level INTEGER NOT NULL, 
	lowest INTEGER NOT NULL, 
	target INTEGER NOT NULL, 
	counts TEXT NOT NULL, 
	CONSTRAINT pk_hours PRIMARY KEY (meeting_sid, began_at)
);
CREATE INDEX ix_hours_began_at ON hours (began_at);
CREATE INDEX ix_links_meeting_sid_claimed_at ON links (meeting_sid, claimed_at) WHERE state = 'claimed';
CREATE INDEX ix_bookings_workspace_ends_at ON bookings (workspace, ends_at);
CREATE INDEX ix_bookings_workspace_heard_at ON bookings (workspace, heard_at) WHERE ends_at IS NULL;
CREATE TABLE link_counts (
	meeting_sid TEXT NOT NULL, 
	state TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	CONSTRAINT pk_link_counts PRIMARY KEY (meeting_sid, state)
);
CREATE TABLE link_count_changes (
	id INTEGER NOT NULL, 
	meeting_sid TEXT NOT NULL, 
	state TEXT NOT NULL, 
	change BIGINT NOT NULL, 
	CONSTRAINT pk_link_count_changes PRIMARY KEY (id)
);
CREATE TRIGGER link_counts_insert AFTER INSERT ON links BEGIN INSERT INTO link_counts (meeting_sid, state, number) SELECT NEW.meeting_sid, NEW.state, 0 WHERE NOT EXISTS (SELECT 1 FROM link_counts WHERE meeting_sid = NEW.meeting_sid AND state = NEW.state); UPDATE link_counts SET number = number + 1 WHERE meeting_sid = NEW.meeting_sid AND state = NEW.state;  END;
CREATE TRIGGER link_counts_update AFTER UPDATE OF state, meeting_sid ON links WHEN NEW.state <> OLD.state OR NEW.meeting_sid <> OLD.meeting_sid BEGIN INSERT INTO link_counts (meeting_sid, state, number) SELECT NEW.meeting_sid, NEW.state, 0 WHERE NOT EXISTS (SELECT 1 FROM link_counts WHERE meeting_sid = NEW.meeting_sid AND state = NEW.state); UPDATE link_counts SET number = number + 1 WHERE meeting_sid = NEW.meeting_sid AND state = NEW.state; INSERT INTO link_counts (meeting_sid, state, number) SELECT OLD.meeting_sid, OLD.state, 0 WHERE NOT EXISTS (SELECT 1 FROM link_counts WHERE meeting_sid = OLD.meeting_sid AND state = OLD.state); UPDATE link_counts SET number = number - 1 WHERE meeting_sid = OLD.meeting_sid AND state = OLD.state;  END;
CREATE TRIGGER link_counts_delete AFTER DELETE ON links BEGIN INSERT INTO link_counts (meeting_sid, state, number) SELECT OLD.meeting_sid, OLD.state, 0 WHERE NOT EXISTS (SELECT 1 FROM link_counts WHERE meeting_sid = OLD.meeting_sid AND state = OLD.state); UPDATE link_counts SET number = number - 1 WHERE meeting_sid = OLD.meeting_sid AND state = OLD.state;  END;
CREATE TABLE pruned_marks (
	mark INTEGER NOT NULL, 
	CONSTRAINT pk_pruned_marks PRIMARY KEY (mark)
);
CREATE TABLE pruned_counts (
	meeting_sid TEXT NOT NULL, 
	state TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	CONSTRAINT pk_pruned_counts PRIMARY KEY (meeting_sid, state)
);
CREATE INDEX ix_links_withdrawn_at ON links (withdrawn_at) WHERE state IN ('retired', 'quarantined');
CREATE INDEX ix_links_lapsed ON links (lapses_at) WHERE state = 'lapsed';
CREATE INDEX ix_links_meeting_sid_created_at ON links (meeting_sid, created_at) WHERE state = 'fresh';
CREATE INDEX ix_inbox_booking_sid ON inbox (booking_sid) WHERE booking_sid IS NOT NULL;
CREATE INDEX ix_inbox_workspace_source_received_at ON inbox (workspace, source, received_at);
CREATE INDEX ix_bookings_email_key ON bookings (email_key) WHERE email_key IS NOT NULL;
INSERT INTO alembic_version (version_num) VALUES ('0018');

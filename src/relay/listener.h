/* SPDX-License-Identifier: MIT */
/*
 * The listeners of one worker: they accept connections, keep to --maxconn, and choose the worker of
 * each connection.
 *
 * When the limit of the process or of the forward is reached, accepting pauses. Clients then wait
 * in the kernel's backlog, and a connection that was accepted in the meantime waits here, until a
 * session ends. A socket that has ended for good (ss -K, or its interface was deleted) is opened
 * again, at once or every LISTENER_REPAIR_MS. When descriptors or memory are short, accepting
 * pauses for LISTENER_RETRY_MS at a time. One connection per listener can wait here; if a multishot
 * accept brings more, these are reset and counted.
 */
#pragma once

#include <net/if.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "config/config.h"
#include "os/engine.h"
#include "os/timer.h"
#include "relay/load.h"
#include "relay/session.h"

#define LISTENER_RETRY_MS 100

/* How often a failed listener is opened again, and a listener of an interface is inspected. */
#define LISTENER_REPAIR_MS 1000

/* timer.kind of the timers of listeners: when one is due, call listeners_resume(). */
#define LISTENER_TIMER 2

struct listener {
	struct forward *forward;
	/* -1: closed for good. The number stays until then, so the main thread may read it */
	int fd;
	bool armed;	    /* an accept is in flight */
	bool many;	    /* the accept is a multishot accept */
	bool closing;	    /* for good: no accept is armed any more */
	bool cancelled;	    /* the accept is cancelled; its last event is still to come */
	bool full;	    /* accepting pauses because of --maxconn-forward */
	bool starved;	    /* accepting pauses because descriptors are short */
	atomic_bool failed; /* the last attempt to repair failed; the control thread reads it */
	int error;	    /* -errno of sock_listener_error(); 0: the socket is good */
	char device[IF_NAMESIZE]; /* the interface that the socket is bound to; "": none */
	unsigned careful_count;	  /* so many connections are still accepted one by one */
	uint32_t backlog;
	uint32_t many_room; /* a multishot accept needs room for more sessions than this */
	int waiting_fd;	    /* a connection that was accepted and not admitted yet; -1: none */
	struct timer timer; /* armed while accepting pauses for a time */
};

enum listeners_state {
	LISTENERS_OPEN,
	LISTENERS_HELD,	   /* listeners_hold() was called */
	LISTENERS_CLOSING, /* listeners_close() was called */
};

struct listeners {
	/* at least one per forward; of one forward several if there were more workers before */
	struct listener *listeners;
	unsigned count;
	struct sessions *sessions;
	struct engine **engines; /* of all workers */
	bool no_multishot;	 /* the kernel has no multishot accept: before Linux 5.19 */
	bool full;		 /* accepting pauses because of --maxconn */
	enum listeners_state state;
	struct timer device_timer; /* armed while a listener is bound to an interface */
	unsigned sending_count;	   /* connections on their way to other workers */
};

/*
 * Takes over those of the listening sockets that are for the worker of `sessions`. `sessions` and
 * `engines` must outlive the listeners. Returns 0 or -ENOMEM.
 */
int listeners_init(struct listeners *listeners, const struct forward_sockets *sockets,
		   struct sessions *sessions, struct engine **engines);

void listeners_finish(struct listeners *listeners);

/* Accepts on every listener that does not have to pause. Call it when sessions have ended. */
void listeners_resume(struct listeners *listeners);

/* Pauses accepting for LISTENER_RETRY_MS, because a session could not get its descriptors. */
void listeners_pause(struct listeners *listeners);

/* Takes an event with ENGINE_OP_ACCEPT, ENGINE_OP_HANDED_OVER or ENGINE_OP_HAND_OVER_SENT. */
void listeners_on_event(struct listeners *listeners, const struct engine_event *event);

/*
 * Stops accepting for good: serves the connections of the backlogs, then closes the sockets.
 * Backlogs of a forward that is `given_away` are the next process's.
 */
void listeners_close(struct listeners *listeners);

/* Does the same for the listeners of forwards that drain: forward_drains(). */
void listeners_close_drained(struct listeners *listeners);

/* Whether all sockets are closed and no connection is on its way to another worker. */
bool listeners_are_closed(const struct listeners *listeners);

/* listener_move.c: for a process that takes over ----------------------------------------------- */

/*
 * Before the start of the worker: gives the sockets of the process before the options of their
 * forwards here. Not earlier than that process has given up: until then it listens on them.
 */
void listeners_tune(struct listeners *listeners);

/*
 * Writes a record of each listening socket of a forward for the process that takes over
 * (os/inherited.h); none if forward_drains(). Not after listeners_close(). Main thread.
 */
void listeners_write(const struct listeners *listeners, const struct forward *forward,
		     struct carrier *carrier);

/*
 * Takes an accepted connection over that is to wait here, and owns it from here on. False: there is
 * no room for it. Before the start.
 */
bool listeners_take(struct listeners *listeners, unsigned forward, int fd);

/* Stops accepting: connections stay in the backlogs. listeners_release() goes on. */
void listeners_hold(struct listeners *listeners);

/* Whether no accept is in flight and no connection is on its way to another worker. */
bool listeners_are_held(const struct listeners *listeners);

void listeners_release(struct listeners *listeners);

/*
 * While they are held: another process has the listening sockets of the forwards that are
 * `given_away`, and the connections that wait here for the forwards that `moves`, by index. Closes
 * them here.
 */
void listeners_leave(struct listeners *listeners, const bool *moves);

/* listener.c: cancels the accept in flight, if there is one that is not cancelled yet. */
void listener_cancel_accept(struct listeners *listeners, struct listener *listener);

/* listener_repair.c: sockets that have ended for good ------------------------------------------ */

/* Finds the interface of a listener: from --bind-device, or from its link-local address. */
void listener_learn_device(struct listener *listener);

/*
 * Once every LISTENER_REPAIR_MS: looks for listeners whose interface is gone, and sets `error` of
 * each. Returns whether it found any.
 */
bool listeners_find_lost(struct listeners *listeners);

/*
 * Opens a listener that has an `error` and no accept in flight. Returns true and clears `error`, or
 * returns false and arms the timer for the next attempt. Logs a success, and the first failure.
 */
bool listener_repair(struct listeners *listeners, struct listener *listener);

/*
 * Logs that a listening socket with the error `socket_error` (sock_listener_error()) was opened
 * again. If that failed, `error` is its -errno, otherwise 0. `forward` is the forward's name; NULL:
 * the listener of --metrics.
 */
void listener_log_repair(const char *forward, const struct addr *listen, int socket_error,
			 int error);

/*
 * Rules that keep acknowledged mail safe, and that the crash tests break on purpose: a build with
 * -DMUTANT_... must lose mail and be caught, or those tests prove nothing. Everywhere else all of
 * them are 1.
 */
#ifndef MS_BASE_RULES_H
#define MS_BASE_RULES_H

/* Content is flushed before anything that refers to it, and before it is acknowledged. */
#ifdef MUTANT_no_flush
#define RULE_FLUSH 0
#else
#define RULE_FLUSH 1
#endif

/* So is the folder in which a file gets its name. */
#ifdef MUTANT_no_folder_flush
#define RULE_FOLDER_FLUSH 0
#else
#define RULE_FOLDER_FLUSH 1
#endif

/* An acknowledgement follows the commit. */
#ifdef MUTANT_ack_early
#define RULE_ACK_LAST 0
#else
#define RULE_ACK_LAST 1
#endif

/* Of an operation that failed nothing is committed. */
#ifdef MUTANT_commit_failed
#define RULE_ABORT_FAILED 0
#else
#define RULE_ABORT_FAILED 1
#endif

#endif

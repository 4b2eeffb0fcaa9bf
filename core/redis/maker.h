/* maker.h - what a reader of hiredis makes its replies in. */
#ifndef STORES_REDIS_MAKER_H
#define STORES_REDIS_MAKER_H

#include "base/base.h"

struct redisReader;

struct stores__redis_maker {
    void *root; /* the reply that is being read */
    size_t most; /* elements that it may have */
    bool exceeded; /* it had more, and was not made */
};

/* Has a reader of hiredis make replies that are freed by stores__redis_reply_free alone. The maker
 * has to outlive the reader. */
void stores__redis_reply_made_by(struct redisReader *reader, struct stores__redis_maker *maker);

#endif
